//! Finds the key that is to log in, or makes one.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    commands::{CommandError, ErrorCode},
    surroundings::program,
    ui::Ui,
    user,
};

/// The keys that ssh tries on its own, the one that is made first.
const USUAL: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// A key pair.
pub(super) struct Key {
    /// The file of the private key.
    pub(super) private: Utf8PathBuf,
    /// The public key: `ssh-ed25519 AAAA… comment`.
    pub(super) public: String,
}

impl Key {
    /// Returns a key that ssh tries on its own; makes one if there is none.
    pub(super) async fn usual(ui: Ui) -> Result<Self, CommandError> {
        let Some(home) = user::home() else {
            let help = "name one with --key".to_owned();
            let message = "there is no home directory to find a key in";
            return Err(CommandError::message(
                ErrorCode::NotAuthorized,
                message,
                Some(help),
            ));
        };
        let usual = USUAL.map(|name| home.join(".ssh").join(name));
        match usual.iter().find(|path| path.exists()) {
            Some(path) => Self::read(path).await,
            None => Self::make(&usual[0], ui).await,
        }
    }

    /// Returns the key with this private or public file.
    pub(super) async fn read(path: &Utf8Path) -> Result<Self, CommandError> {
        let private = match path.extension() {
            Some("pub") => path.with_extension(""),
            _ => path.to_owned(),
        };
        // The manifest may be in another folder.
        let private = camino::absolute_utf8(&private).unwrap_or(private);
        let public = Utf8PathBuf::from(format!("{private}.pub"));
        let text = if public.exists() {
            fs_err::read_to_string(&public).map_err(|error| error.to_string())
        } else {
            // The public key is a part of the private one.
            keygen(&["-y", "-f", private.as_str()]).await
        };
        let text = text.map_err(|reason| unusable(&private, &reason))?;
        let public = text.trim();
        let words = public.split_whitespace().count();
        if words < 2 || public.lines().count() != 1 {
            return Err(unusable(&private, "it has no public key on one line"));
        }
        Ok(Self {
            private,
            public: public.to_owned(),
        })
    }

    async fn make(path: &Utf8Path, ui: Ui) -> Result<Self, CommandError> {
        if let Some(folder) = path.parent() {
            let made = fs_err::create_dir_all(folder);
            made.map_err(|error| unusable(path, &error.to_string()))?;
        }
        let made = keygen(&["-q", "-t", "ed25519", "-N", "", "-f", path.as_str()]).await;
        made.map_err(|reason| unusable(path, &reason))?;
        ui.note(&format!("made the key {path}, without a passphrase"));
        Self::read(path).await
    }
}

/// Returns the output of ssh-keygen, or what it says.
async fn keygen(words: &[&str]) -> Result<String, String> {
    let mut keygen = program("ssh-keygen");
    let output = keygen
        .args(words)
        .stdin(std::process::Stdio::null())
        .output();
    let output = output
        .await
        .map_err(|error| format!("ssh-keygen: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn unusable(path: &Utf8Path, reason: &str) -> CommandError {
    if reason.contains("UNPROTECTED PRIVATE KEY FILE") {
        return CommandError::message(
            ErrorCode::NotAuthorized,
            format!("the key {path} can be read by others, and ssh ignores such a key"),
            Some(format!("make it readable only for you: chmod 600 {path}")),
        );
    }
    let help = "name another one with --key, or create one with: ssh-keygen -t ed25519";
    CommandError::message(
        ErrorCode::NotAuthorized,
        format!("the key {path} cannot be used: {reason}"),
        Some(help.to_owned()),
    )
}
