//! What is asked twice is answered once. A few bytes of request may ask for many of answer, and Kafka's clients name
//! nothing twice; so this bounds an answer by what there is, not by how often somebody asks for it.

use std::collections::HashSet;
use std::hash::Hash;

/// The items whose key has not come before, in order.
pub(super) fn distinct<T, K: Eq + Hash>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(move |item| seen.insert(key(item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_stays_in_its_place() {
        let kept: Vec<_> = distinct(["b", "a", "b", "c", "a"], |name| name.to_string()).collect();
        assert_eq!(kept, ["b", "a", "c"]);
    }
}
