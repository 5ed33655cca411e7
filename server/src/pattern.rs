//! Patterns that clients send, compiled under a bound.

use regex::{Error, Regex, RegexBuilder};

use crate::limits::PATTERN_BYTES_MAX;

/// A pattern that has to match all of a text.
///
/// # Errors
/// Those of the pattern, or that it takes more than [`PATTERN_BYTES_MAX`].
pub fn whole(pattern: &str) -> Result<Regex, Error> {
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    // On its own first: one that closes the group it is put into must not pass.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_all_of_a_text_and_cannot_leave_its_group() {
        let pattern = whole("a|b.").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("bc") && !pattern.is_match("ab"));
        assert!(whole("a)|(?:b").is_err());
        assert!(whole("(").is_err() && whole("(\\w{1000}){1000}").is_err());
    }
}
