//! Writes the events of the workers to the log: a line for each, in the order of each worker.
//!
//! It reads from where it was and takes nothing from `show events`. Nobody waits for an answer: a worker
//! that is slow to answer delays its own lines only.

use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use mooring_engine::EventPage;
use mooring_observe::events::EventRow;
use mooring_observe::query::{Answer, Query};
use mooring_session::Tick;

use super::clock::Clock;
use super::desk::WorkerLine;
use super::worker::Command;
use crate::say::{count, say};

/// What has been told.
#[derive(Debug, Default)]
pub struct EventLog {
    /// By worker.
    readers: Vec<Reader>,
}

/// How far the log is with one worker.
#[derive(Debug, Default)]
struct Reader {
    /// The number of the next event.
    next: u64,
    /// The question that is on its way.
    asked: Option<Receiver<Answer>>,
    due: Tick,
}

impl EventLog {
    /// Asks the workers, or writes down what they have answered. Returns how many events could not be
    /// written because they are no longer remembered.
    pub fn look(&mut self, workers: &[WorkerLine], clock: Clock) -> u64 {
        self.readers.resize_with(workers.len(), Reader::default);
        let now = clock.now();
        let mut missed = 0;
        for (at, (reader, worker)) in self.readers.iter_mut().zip(workers).enumerate() {
            missed += reader.answered(now).map_or(0, |page| write(at, &page, clock));
            reader.ask(worker, now);
        }
        missed
    }

    /// Tells the workers to stop, and writes down what they have not told yet. The last question is right
    /// before the word to stop: nothing happens in between. A worker that does not answer in time keeps
    /// nobody. Returns how many events could not be written.
    pub fn close(&mut self, workers: &[WorkerLine], clock: Clock) -> u64 {
        self.readers.resize_with(workers.len(), Reader::default);
        let mut missed = 0;
        for (at, (reader, worker)) in self.readers.iter_mut().zip(workers).enumerate() {
            // What has waited goes first, so that what is left is no more than a page.
            while reader.asked.is_some() || reader.due <= clock.now() {
                reader.ask(worker, clock.now());
                let Some(page) = reader.wait(clock.now()) else { break };
                missed += write(at, &page, clock);
            }
            reader.due = Tick::ZERO;
            reader.ask(worker, clock.now());
            worker.tell(Command::Stop);
        }
        for (at, reader) in self.readers.iter_mut().enumerate() {
            missed += reader.wait(clock.now()).map_or(0, |page| write(at, &page, clock));
        }
        missed
    }

    /// How long to wait before [`Self::look`] has something to do.
    #[must_use]
    pub fn pause(&self, now: Tick) -> Duration {
        let waits = |reader: &Reader| match &reader.asked {
            // The answer is there as soon as the worker has turned once.
            Some(_) => ANSWER_IN,
            None => Duration::from_millis(reader.due.since(now)),
        };
        self.readers.iter().map(waits).min().unwrap_or(ASK_EVERY)
    }
}

impl Reader {
    fn answered(&mut self, now: Tick) -> Option<EventPage> {
        let answer = match self.asked.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => return None,
            answer => answer.ok(),
        };
        self.take(answer, now)
    }

    /// The answer to the question that is on its way, as soon as it is there.
    fn wait(&mut self, now: Tick) -> Option<EventPage> {
        let answer = self.asked.as_ref()?.recv_timeout(PATIENCE).ok();
        self.take(answer, now)
    }

    fn take(&mut self, answer: Option<Answer>, now: Tick) -> Option<EventPage> {
        match answer {
            Some(Answer::Events(page)) => {
                (self.asked, self.next) = (None, page.next);
                // Where there are more, the next question follows at once.
                self.due = if page.more { now } else { now + ASK_EVERY };
                Some(page)
            }
            _ => {
                (self.asked, self.due) = (None, now + ASK_EVERY);
                None
            }
        }
    }

    fn ask(&mut self, worker: &WorkerLine, now: Tick) {
        if self.asked.is_none() && now >= self.due {
            let (reply, answer) = bounded(1);
            worker.tell(Command::Ask(Query::Events(Some(self.next)), reply));
            self.asked = Some(answer);
        }
    }
}

/// Writes a page of one worker down; returns how many events before it are lost.
fn write(worker: usize, page: &EventPage, clock: Clock) -> u64 {
    lines(worker, page, clock).iter().for_each(|line| say(line));
    page.missed
}

/// What the log says of a page of one worker.
fn lines(worker: usize, page: &EventPage, clock: Clock) -> Vec<String> {
    let lost = (page.missed > 0).then(|| {
        let events = count(page.missed, "event");
        format!("mooring: {events} of worker {worker} came too fast")
    });
    let row = |told| EventRow::new(worker, told, clock.date(told.event.at));
    let told = page.events.iter().map(|told| format!("mooring: event {}", row(told)));
    lost.into_iter().chain(told).collect()
}

/// Events are in the log within about this time.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How long a worker may take for its last words.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longer than a worker takes to look at its channel.
const ANSWER_IN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crossbeam::channel::{Receiver, unbounded};
    use mio::{Poll, Token, Waker};
    use mooring_engine::{Event, EventKind, EventPage, Told};
    use mooring_observe::query::{Answer, Query};
    use mooring_session::Tick;

    use super::{EventLog, lines};
    use crate::run::clock::Clock;
    use crate::run::desk::WorkerLine;
    use crate::run::worker::Command;

    fn page(numbers: std::ops::Range<u64>, missed: u64, more: bool) -> EventPage {
        let event = Event::new(EventKind::TableFull, Tick::ZERO);
        let told = |number| Told { number, pool: None, event: event.clone() };
        EventPage { next: numbers.end, events: numbers.map(told).collect(), missed, more }
    }

    /// Answers the one question that waits with this page; which number was asked from.
    fn answer(inbox: &Receiver<Command>, page: EventPage) -> u64 {
        let told = inbox.recv_timeout(Duration::from_secs(10));
        let Ok(Command::Ask(Query::Events(Some(from)), reply)) = told else {
            panic!("the log asks for events");
        };
        reply.send(Answer::Events(page)).expect("the log waits");
        from
    }

    #[test]
    fn the_log_goes_on_where_it_was_and_asks_at_once_for_more() {
        let poll = Poll::new().expect("the system has descriptors");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("the poll is new"));
        let (commands, inbox) = unbounded();
        let workers = [WorkerLine { commands, waker }];
        let (mut log, clock) = (EventLog::default(), Clock::start());
        assert_eq!(log.look(&workers, clock), 0);
        assert_eq!(log.look(&workers, clock), 0, "one question at a time");
        assert_eq!(answer(&inbox, page(5..9, 5, true)), 0);
        assert_eq!(log.look(&workers, clock), 5, "missed");
        assert_eq!(answer(&inbox, page(9..10, 0, false)), 9);
        assert_eq!(log.look(&workers, clock), 0);
        assert!(inbox.try_recv().is_err(), "nothing more waits: later");
        assert!(!log.pause(clock.now()).is_zero());
    }

    #[test]
    fn at_the_end_all_that_is_left_is_written_and_then_the_worker_stops() {
        let poll = Poll::new().expect("the system has descriptors");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("the poll is new"));
        let (commands, inbox) = unbounded();
        let (gone, _) = unbounded();
        let workers = [
            WorkerLine { commands, waker: Arc::clone(&waker) },
            WorkerLine { commands: gone, waker },
        ];
        let worker = std::thread::spawn(move || {
            let left = [page(0..3, 2, true), page(3..4, 0, false), page(5..6, 1, false)];
            let asked = left.map(|page| answer(&inbox, page));
            (asked, inbox.recv())
        });
        let (mut log, clock) = (EventLog::default(), Clock::start());
        assert_eq!(log.close(&workers, clock), 3, "missed");
        let (asked, last) = worker.join().expect("the log asks three times");
        assert_eq!(asked, [0, 3, 4], "until nothing is left, and once more");
        assert!(matches!(last, Ok(Command::Stop)), "right behind the last question: {last:?}");
    }

    #[test]
    fn each_event_has_a_line_and_so_have_those_that_were_missed() {
        let lines = lines(2, &page(3..5, 3, false), Clock::start());
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "mooring: 3 events of worker 2 came too fast");
        assert!(lines[1].starts_with("mooring: event kind=table_full at=2"), "{}", lines[1]);
    }
}
