//! How one agent hears of the server in the simulation: late, in order, or not at all.

use super::Dice;
use super::server::{Change, Route, Server};

/// How it stands between an agent and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    Good,
    /// Connections are refused and broken.
    Refused,
    /// Nothing comes through, and nobody is told.
    Silent,
}

/// Lists, then watches: what `watch` does, without its sockets.
pub(super) struct Feed {
    pub(super) contact: Contact,
    /// How much later than it is written a change arrives.
    pub(super) delay: u64,
    state: State,
    /// All changes before this one are known.
    cursor: usize,
    /// A list comes first; a watch alone does not do.
    must_list: bool,
    /// The last doubt that a list may settle which is asked for now, and which the one under way may.
    doubts: u64,
    asked_at: u64,
    /// Something went wrong, and nothing right since.
    pub(super) trouble: bool,
    /// Until then the server is left alone.
    resume: u64,
    heard: u64,
}

enum State {
    Asking,
    Listing { asked: u64, served: u64, arrives: u64, list: Option<(Vec<Route>, usize)> },
    Watching { began: u64 },
}

/// What the agent is told.
pub(super) enum Told {
    /// As they were asked for after the doubt of this number.
    All(Vec<Route>, u64),
    Changed(Change),
    Trouble,
}

impl Feed {
    pub(super) fn new(now: u64) -> Self {
        Self {
            contact: Contact::Good,
            delay: 5,
            state: State::Asking,
            cursor: 0,
            must_list: true,
            doubts: 0,
            asked_at: 0,
            trouble: false,
            resume: now,
            heard: now,
        }
    }

    /// What comes next, if it is there by now.
    pub(super) fn next(&mut self, server: &Server, now: u64, dice: &mut Dice) -> Option<Told> {
        if self.contact == Contact::Good {
            self.heard = now;
        }
        match &mut self.state {
            State::Asking if now < self.resume => None,
            State::Asking if self.contact == Contact::Refused => Some(self.fail(now, dice)),
            State::Asking if self.must_list => {
                self.asked_at = self.doubts;
                let served = now + dice.upto(self.delay.min(500));
                let arrives = served + 1 + dice.upto(self.delay.min(500));
                self.state = State::Listing { asked: now, served, arrives, list: None };
                self.next(server, now, dice)
            }
            State::Asking => {
                self.state = State::Watching { began: now };
                self.next(server, now, dice)
            }
            State::Listing { asked, served, arrives, list } => {
                let (is_late, is_due) = (now >= *asked + ANSWER, now >= *arrives);
                if self.contact == Contact::Good && now >= *served && list.is_none() {
                    *list = Some((server.routes.clone(), server.log.len()));
                }
                match (self.contact, list.take_if(|_| is_due)) {
                    (Contact::Good, Some((routes, cursor))) => {
                        self.state = State::Watching { began: now };
                        (self.cursor, self.must_list, self.trouble) = (cursor, false, false);
                        Some(Told::All(routes, self.asked_at))
                    }
                    (Contact::Refused, _) => Some(self.fail(now, dice)),
                    _ if is_late => Some(self.fail(now, dice)),
                    _ => None,
                }
            }
            State::Watching { began } => match self.contact {
                Contact::Refused => Some(self.fail(now, dice)),
                Contact::Silent if now >= self.heard + SILENCE => Some(self.fail(now, dice)),
                Contact::Silent => None,
                Contact::Good => {
                    self.trouble &= now < *began + 1_000;
                    let (written, change) = server.log.get(self.cursor)?;
                    (now >= written + self.delay).then(|| {
                        self.cursor += 1;
                        self.trouble = false;
                        Told::Changed(change.clone())
                    })
                }
            },
        }
    }

    /// Begins anew with a list: the server has forgotten.
    pub(super) fn relist(&mut self) {
        (self.state, self.must_list) = (State::Asking, true);
    }

    /// Asks about the doubt of this number, unless it is asking already: that goes on.
    pub(super) fn ask(&mut self, doubt: u64) {
        self.doubts = doubt;
        if !matches!(self.state, State::Listing { .. }) {
            self.relist();
        }
    }

    /// The last change that is known.
    pub(super) const fn known(&self) -> usize {
        self.cursor
    }

    /// Whether all is known that there is, and will be.
    pub(super) fn is_current(&self, server: &Server) -> bool {
        let watches = matches!(self.state, State::Watching { .. });
        watches && self.contact == Contact::Good && self.cursor == server.log.len()
    }

    /// When there may be something.
    pub(super) fn due(&self, server: &Server) -> Option<u64> {
        match (&self.state, self.contact) {
            (State::Asking, _) => Some(self.resume),
            (State::Listing { served, list: None, .. }, Contact::Good) => Some(*served),
            (State::Listing { arrives, .. }, Contact::Good) => Some(*arrives),
            (State::Listing { asked, .. }, _) => Some(asked + ANSWER),
            (State::Watching { .. }, Contact::Silent) => Some(self.heard + SILENCE),
            (State::Watching { .. }, _) => {
                server.log.get(self.cursor).map(|(written, _)| written + self.delay)
            }
        }
    }

    fn fail(&mut self, now: u64, dice: &mut Dice) -> Told {
        (self.state, self.trouble) = (State::Asking, true);
        self.resume = now + 50 + dice.upto(1_000);
        Told::Trouble
    }
}

/// How long an answer may take, and how long a watch may be silent: those of `watch`.
const ANSWER: u64 = 10_000;
const SILENCE: u64 = 25_000;
