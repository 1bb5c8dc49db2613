//! Words of messages that count things.

use std::fmt::Display;

/// A number and what there is of it, in the form that it asks for.
pub(super) fn counted<N: Copy + Display + PartialEq + From<u8>>(
    number: N,
    one: &str,
    more: &str,
) -> String {
    let thing = if number == N::from(1) { one } else { more };
    format!("{number} {thing}")
}

/// The same behind its verb: "is 1 pair", "are 2 pairs".
pub(super) fn are<N: Copy + Display + PartialEq + From<u8>>(
    number: N,
    one: &str,
    more: &str,
) -> String {
    let verb = if number == N::from(1) { "is" } else { "are" };
    format!("{verb} {}", counted(number, one, more))
}

#[cfg(test)]
mod tests {
    use super::{are, counted};

    #[test]
    fn one_thing_has_the_form_of_one() {
        assert_eq!(counted(1u32, "address", "addresses"), "1 address");
        assert_eq!(counted(0u32, "address", "addresses"), "0 addresses");
        assert_eq!(are(1u128, "block", "blocks"), "is 1 block");
        assert_eq!(are(21u128, "block", "blocks"), "are 21 blocks");
    }
}
