//! Finds the word that somebody meant who mistyped it.

/// The known word that is most like this one, if any is like enough: `serial` for `serail`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Half of the letters in their place: `serail` is `serial`, `name` is not `mode`.
    const LIKE: f64 = 0.6;
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(word, candidate),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_meant() {
        assert_eq!(did_you_mean("serail", ["host", "serial"]), Some("serial"));
        assert_eq!(did_you_mean("image", ["images", "usb"]), Some("images"));
        assert_eq!(did_you_mean("colour", ["host", "serial"]), None);
    }
}
