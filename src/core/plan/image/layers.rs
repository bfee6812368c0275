//! Finds the layers of an image that docker on the VPU lacks.

use std::collections::BTreeSet;

use crate::digest::Digest;

/// The layer chains that a docker has: those of all images, and all their prefixes.
///
/// A classic image store identifies a layer by its chain ID: the layer and all below it. The same
/// layer on top of others is a different one (moby's `layer.CreateChainID`; tried with 20.10).
#[derive(Debug, Default)]
pub(super) struct Chains(Vec<Vec<Digest>>);

impl Chains {
    /// Collects the chains of images with these layers, lowest first.
    pub(super) fn of<'a>(images: impl Iterator<Item = &'a [Digest]>) -> Self {
        Self(images.map(<[Digest]>::to_vec).collect())
    }

    /// Adds an image that is loaded before.
    pub(super) fn add(&mut self, layers: &[Digest]) {
        self.0.push(layers.to_vec());
    }

    /// Returns the layers of an image that have to be sent.
    pub(super) fn missing(&self, layers: &[Digest]) -> BTreeSet<Digest> {
        let common = |chain: &Vec<Digest>| {
            let pairs = chain.iter().zip(layers);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let there = self.0.iter().map(common).max().unwrap_or(0);
        layers[there..].iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(letters: &str) -> Vec<Digest> {
        letters.bytes().map(|letter| Digest::of([letter])).collect()
    }

    fn missing(there: &[&str], wanted: &str) -> usize {
        let there: Vec<Vec<Digest>> = there.iter().map(|letters| digests(letters)).collect();
        let chains = Chains::of(there.iter().map(Vec::as_slice));
        chains.missing(&digests(wanted)).len()
    }

    #[test]
    fn a_layer_is_present_only_with_all_layers_below_it() {
        assert_eq!(missing(&[], "abc"), 3);
        assert_eq!(missing(&["abx"], "abc"), 1);
        assert_eq!(missing(&["a", "ab", "axc"], "abc"), 1);
        assert_eq!(missing(&["bc"], "abc"), 3, "another bottom");
        assert_eq!(missing(&["xbc"], "abc"), 3, "the top alone is none");
        assert_eq!(missing(&["abcd"], "abc"), 0);
        assert_eq!(missing(&["ab"], "aba"), 1, "a layer that is there twice");
    }

    #[test]
    fn layers_of_images_loaded_before_are_present() {
        let mut chains = Chains::default();
        chains.add(&digests("abc"));
        assert_eq!(
            chains.missing(&digests("abd")),
            digests("d").into_iter().collect()
        );
    }
}
