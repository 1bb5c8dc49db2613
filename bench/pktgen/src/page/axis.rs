//! An axis: which part of the numbers it shows, where its marks stand and what they are called.

/// How numbers lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero to a mark.
    Linear,
    /// From zero to the last number.
    Tight,
    /// Numbers above zero; every factor of ten has the same length.
    Log,
    /// Parts of all, from 0 to below 1, by how little is left: 0, 90 %, 99 %, 99.9 %.
    Nines,
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of things: 250 k, 1.2 M.
    Count,
    /// Nanoseconds.
    Time,
    Seconds,
    /// Parts of one.
    Part,
}

/// What an axis shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
    pub(crate) unit: Unit,
}

/// An axis that fits its numbers.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    scale: Scale,
    unit: Unit,
    /// Ends, as the scale sees numbers.
    low: f64,
    high: f64,
    /// Numbers that have a mark.
    pub(super) marks: Vec<f64>,
}

impl Fitted {
    /// Fits the numbers.
    pub(super) fn new(axis: Axis, numbers: impl Iterator<Item = f64>) -> Self {
        let numbers = numbers.filter(|number| number.is_finite());
        match axis.scale {
            Scale::Linear | Scale::Tight => Self::linear(axis.scale, axis.unit, numbers),
            Scale::Log => Self::log(axis.unit, numbers),
            Scale::Nines => Self::nines(axis.unit, numbers),
        }
    }

    /// Where a number lies, from 0 (the beginning) to 1.
    pub(super) fn place(&self, number: f64) -> f64 {
        let at = (project(self.scale, number) - self.low) / (self.high - self.low);
        at.clamp(0.0, 1.0)
    }

    /// What a number is called.
    pub(super) fn name(&self, number: f64) -> String {
        name(self.unit, number)
    }

    fn linear(scale: Scale, unit: Unit, numbers: impl Iterator<Item = f64>) -> Self {
        let most = numbers.fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / WANTED);
        let steps = most / step;
        let count =
            if scale == Scale::Tight { (steps + 1e-9).floor() } else { (steps - 1e-9).ceil() };
        let high = if scale == Scale::Tight { most } else { count * step };
        let marks = (0..=count as u32).map(|n| f64::from(n) * step).collect();
        Self { scale, unit, low: 0.0, high, marks }
    }

    fn log(unit: Unit, numbers: impl Iterator<Item = f64>) -> Self {
        let positive = numbers.filter(|number| *number > 0.0).map(f64::log10);
        let (low, high) = positive
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| (low.min(n), high.max(n)));
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        // Few factors of ten: 1, 2 and 5 have marks; many: 1 alone.
        let heads: &[f64] = if high - low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all: Vec<f64> = (low.floor() as i32 - 1..=high.ceil() as i32 + 1)
            .flat_map(|power| heads.iter().map(move |head| head * 10_f64.powi(power)))
            .collect();
        let first = all.iter().rposition(|mark| mark.log10() <= low + 1e-9).unwrap_or(0);
        let last = all.iter().position(|mark| mark.log10() >= high - 1e-9).unwrap_or(all.len() - 1);
        let last = last.max(first + 1);
        let marks = all[first..=last].to_vec();
        Self { scale: Scale::Log, unit, low: all[first].log10(), high: all[last].log10(), marks }
    }

    fn nines(unit: Unit, numbers: impl Iterator<Item = f64>) -> Self {
        let most = numbers.map(|number| project(Scale::Nines, number)).fold(1.0, f64::max);
        let high = most.ceil();
        let mut marks: Vec<f64> =
            (0..=high as i32).map(|nines| 1.0 - 10_f64.powi(-nines)).collect();
        // Where there is room the median has a mark beside that of nothing, else in its place.
        let room = usize::from(high < 4.5);
        marks.splice(room..1, [0.5]);
        Self { scale: Scale::Nines, unit, low: 0.0, high, marks }
    }
}

fn project(scale: Scale, number: f64) -> f64 {
    match scale {
        Scale::Linear | Scale::Tight => number,
        Scale::Log => number.max(f64::MIN_POSITIVE).log10(),
        Scale::Nines => -(1.0 - number).max(SMALLEST_REST).log10(),
    }
}

/// The next of 1, 2, 2.5, 5 with a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let head = [1.0, 2.0, 2.5, 5.0].into_iter().find(|head| head * power >= least * (1.0 - 1e-9));
    head.unwrap_or(10.0) * power
}

/// What a number of this kind is called.
pub(crate) fn name(unit: Unit, number: f64) -> String {
    match unit {
        Unit::Count => scaled(number, &[(1e9, " G"), (1e6, " M"), (1e3, " k")], ""),
        Unit::Time => scaled(number, &[(1e9, " s"), (1e6, " ms"), (1e3, " µs")], " ns"),
        Unit::Seconds => scaled(number, &[(3600.0, " h")], " s"),
        Unit::Part => {
            let percent = number * 100.0;
            // As many digits as there are nines.
            let rest = 100.0 - percent;
            if rest <= 1e-9 || rest >= 1.0 {
                return format!("{} %", digits_of(percent));
            }
            let digits = (-rest.log10() - 1e-6).ceil().max(0.0) as usize + 1;
            format!("{} %", without_zeros(&format!("{percent:.digits$}")))
        }
    }
}

fn scaled(number: f64, steps: &[(f64, &str)], small: &str) -> String {
    let step = steps.iter().find(|(factor, _)| number.abs() >= *factor * (1.0 - 1e-9));
    let (factor, unit) = step.copied().unwrap_or((1.0, small));
    format!("{}{unit}", digits_of(number / factor))
}

/// Three digits at least, no zeros behind the point.
fn digits_of(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size > 0.0 => (2.0 - size.log10().floor()).min(9.0) as usize,
        _ => 0,
    };
    without_zeros(&format!("{number:.digits$}")).to_owned()
}

/// The zeros at the end, behind the point, say nothing.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Marks that an axis has, about.
const WANTED: f64 = 5.0;

/// Less than this is left of nothing.
const SMALLEST_REST: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::{Axis, Fitted, Scale, Unit, name};

    fn fitted(scale: Scale, unit: Unit, numbers: &[f64]) -> Fitted {
        Fitted::new(Axis { label: "", scale, unit }, numbers.iter().copied())
    }

    fn names(axis: &Fitted) -> Vec<String> {
        axis.marks.iter().map(|mark| axis.name(*mark)).collect()
    }

    #[test]
    fn marks_are_round_and_hold_all_numbers() {
        let axis = fitted(Scale::Linear, Unit::Count, &[3.0, 430_000.0]);
        assert_eq!(names(&axis), ["0", "100 k", "200 k", "300 k", "400 k", "500 k"]);
        assert!((axis.place(250_000.0) - 0.5).abs() < 1e-12);
        let axis = fitted(Scale::Tight, Unit::Seconds, &[0.5, 3.1]);
        assert_eq!(names(&axis), ["0 s", "1 s", "2 s", "3 s"]);
        assert!((axis.place(3.1) - 1.0).abs() < 1e-12);
        let axis = fitted(Scale::Log, Unit::Time, &[900.0, 60_000.0]);
        assert_eq!(names(&axis).first().map(String::as_str), Some("500 ns"));
        assert_eq!(names(&axis).last().map(String::as_str), Some("100 µs"));
        assert!(axis.place(500.0) == 0.0 && axis.place(100_000.0) == 1.0);
        let axis = fitted(Scale::Nines, Unit::Part, &[0.9995]);
        assert_eq!(names(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((axis.place(0.99) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_at_all_has_an_axis_as_well() {
        for scale in [Scale::Linear, Scale::Tight, Scale::Log, Scale::Nines] {
            for numbers in [&[][..], &[0.0], &[f64::NAN]] {
                let axis = fitted(scale, Unit::Count, numbers);
                assert!(axis.marks.len() >= 2 && axis.place(0.0).is_finite(), "{scale:?}");
            }
        }
    }

    #[test]
    fn numbers_are_called_as_people_call_them() {
        let all = [
            (Unit::Count, 999.0, "999"),
            (Unit::Count, 1_234_567.0, "1.23 M"),
            (Unit::Count, 0.5, "0.5"),
            (Unit::Time, 86_400.0, "86.4 µs"),
            (Unit::Time, 12_000_000.0, "12 ms"),
            (Unit::Seconds, 0.25, "0.25 s"),
            (Unit::Seconds, 7_200.0, "2 h"),
            (Unit::Part, 0.0, "0 %"),
            (Unit::Part, 0.001, "0.1 %"),
            (Unit::Part, 1.0, "100 %"),
            (Unit::Part, 0.5, "50 %"),
            (Unit::Part, 0.99999, "99.999 %"),
        ];
        for (unit, number, expected) in all {
            assert_eq!(name(unit, number), expected);
        }
    }
}
