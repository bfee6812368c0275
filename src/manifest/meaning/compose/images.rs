//! Checks that services run images that the manifest declares.

use super::Project;
use crate::{
    closest::did_you_mean,
    compose::{Place, Service},
    manifest::{FindingCode, names::ImageRef},
};

/// The number of digits that docker shows of an image ID, and the total number.
const ID_LENGTHS: [usize; 2] = [12, 64];

/// Whether a name is the ID of an image.
fn is_id(name: &str) -> bool {
    ID_LENGTHS.contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Project<'_, '_> {
    pub(super) fn image(&mut self, service: &Service) {
        let Some(image) = &service.image else {
            if service.build.is_none() && service.extends.is_none() {
                let message = format!("gives `{}` no image", service.name);
                self.error(
                    FindingCode::ComposeImage,
                    Some(service.place),
                    &message,
                    "add `image:`",
                );
            }
            return;
        };
        if service.unset_in_image.is_empty() {
            self.declared(&service.name, &image.value, image.place);
            return;
        }
        let variables = service.unset_in_image.join("`, `");
        let message = format!(
            "leaves the image of `{}` open: `{variables}` is not set",
            service.name
        );
        let help = format!(
            "set it: `env = {{ {} = \"${{release.version}}\" }}` in [[compose]], or in a `.env` file listed in `extra_files`; or give it a \
             default: `${{NAME:-value}}`",
            service.unset_in_image[0]
        );
        self.error(
            FindingCode::ComposeImage,
            Some(image.place),
            &message,
            &help,
        );
    }

    fn declared(&mut self, service: &str, written: &str, place: Place) {
        let declared = &self.checker.loaded.manifest.images;
        let image = match written.parse::<ImageRef>() {
            Ok(image) => image,
            Err(error) => {
                let message = format!(
                    "runs `{service}` from `{written}`, which is not {}: {}",
                    error.expected, error.problem
                );
                return self.error(
                    FindingCode::ComposeImage,
                    Some(place),
                    &message,
                    &error.help,
                );
            }
        };
        if declared.iter().any(|declared| declared.name == image) {
            return;
        }
        let names: Vec<String> = declared
            .iter()
            .map(|image| image.name.canonical())
            .collect();
        let meant = did_you_mean(&image.canonical(), names.iter().map(String::as_str));
        let help = if is_id(written) {
            "this is an image's ID; write its name and tag, as `docker images` shows them"
                .to_owned()
        } else if let Some(meant) = meant {
            format!("did you mean `{meant}`? Otherwise add [[images]] with `name = \"{image}\"`")
        } else {
            format!("add [[images]] with `name = \"{image}\"`")
        };
        let message = format!("runs `{service}` from `{written}`, which no [[images]] declares");
        self.error(FindingCode::ComposeImage, Some(place), &message, &help);
    }
}
