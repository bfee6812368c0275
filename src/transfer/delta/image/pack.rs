//! Writes a recipe and its literals: a small tar with a shell script that produces a large one.
//!
//! The script runs in the directory of the literals and writes to stdout. It consists of `cat`,
//! `head -c` and `tail -c`; thousands of files take only a few commands, because starting a program
//! is what takes time.

use std::io::{self, BufWriter, Write as _};

use crate::compress::deflate;
use crate::error::ImageError;
use crate::files::{ScratchDir, Slice};
use crate::load_archive;
use o3r_core::{
    compression::Compression,
    digest::{Digest, DigestWriter},
    shell,
};

/// The script's name in the tar. It is the last member, so that its presence proves that the rest
/// arrived.
pub(crate) const RECIPE: &str = "recipe";

/// The name of the list of old files, one a line, if they are extracted from the image first.
pub(crate) const NAMES: &str = "names";

/// The most bytes of a literal; longer ones are split.
const MAX_LITERAL: usize = 1 << 20;

/// The most bytes of a command's arguments. Linux accepts 2 MiB with the environment, a careful
/// shell 128 KiB.
const MAX_WORDS: usize = 32 << 10;

/// A tar and its script in progress.
#[derive(Debug)]
pub(crate) struct Pack<'a> {
    scratch: &'a ScratchDir,
    tar: BufWriter<std::fs::File>,
    /// Bytes of the literal in progress.
    pending: Vec<u8>,
    literals: usize,
    script: Vec<u8>,
    /// Arguments of the `cat` in progress.
    words: Vec<u8>,
    /// The prefix of the paths of old files, as the script sees them.
    prefix: &'static str,
}

/// The result of [`Pack::finish`].
#[derive(Debug)]
pub(crate) struct Packed {
    /// The compressed tar.
    pub(crate) bytes: Slice,
    pub(crate) sha256: Digest,
}

impl<'a> Pack<'a> {
    /// Starts an empty pack; old files are below `prefix`.
    pub(crate) fn new(scratch: &'a ScratchDir, prefix: &'static str) -> Result<Self, ImageError> {
        Ok(Self {
            scratch,
            tar: BufWriter::new(scratch.file()?),
            pending: vec![],
            literals: 0,
            script: b"set -e\n".to_vec(),
            words: vec![],
            prefix,
        })
    }

    /// Appends these bytes.
    pub(crate) fn literal(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        while !bytes.is_empty() {
            let room = MAX_LITERAL - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == MAX_LITERAL {
                self.flush_literal()?;
            }
        }
        Ok(())
    }

    /// Appends a range of an old file that has `total` bytes.
    pub(crate) fn copy(
        &mut self,
        path: &[u8],
        (offset, len): (u64, u64),
        total: u64,
    ) -> Result<(), ImageError> {
        self.flush_literal()?;
        let mut word = self.prefix.as_bytes().to_vec();
        word.extend_from_slice(path);
        let word = shell::quote_bytes(&word);
        let first = offset + 1;
        if (offset, len) == (0, total) {
            self.cat(&word);
            return Ok(());
        }
        self.flush_words();
        let how = if offset == 0 {
            format!("head -c {len} ")
        } else {
            format!("tail -c +{first} ")
        };
        self.script.extend_from_slice(how.as_bytes());
        self.script.extend_from_slice(&word);
        if offset > 0 && offset + len < total {
            self.script
                .extend_from_slice(format!(" | head -c {len}").as_bytes());
        }
        self.script.push(b'\n');
        Ok(())
    }

    /// Compresses the tar. `names` are the old files, if they are extracted first.
    pub(crate) fn finish(mut self, names: Option<&[u8]>) -> Result<Packed, ImageError> {
        self.flush_literal()?;
        self.flush_words();
        if let Some(names) = names {
            self.member(NAMES, names)?;
        }
        let script = std::mem::take(&mut self.script);
        self.member(RECIPE, &script)?;
        let scratch = self.scratch;
        let failed = |source| scratch.error(source);
        load_archive::zeros(&mut self.tar, load_archive::END).map_err(failed)?;
        let tar = self
            .tar
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        let tar = Slice::whole(tar).map_err(failed)?;
        let mut out = DigestWriter::new(scratch.file()?);
        deflate::pack(
            &mut tar.reader(),
            Compression::GZIP_SMALL,
            &mut out,
            &|_| {},
        )
        .map_err(|error| match error {
            deflate::Error::Read(source) | deflate::Error::Write(source) => failed(source),
        })?;
        let (file, sha256, _) = out.finish();
        Ok(Packed {
            bytes: Slice::whole(file).map_err(failed)?,
            sha256,
        })
    }

    fn flush_literal(&mut self) -> Result<(), ImageError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let name = self.literals.to_string();
        self.literals += 1;
        let bytes = std::mem::take(&mut self.pending);
        self.member(&name, &bytes)?;
        self.pending = bytes;
        self.pending.clear();
        self.cat(name.as_bytes());
        Ok(())
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let len = bytes.len() as u64;
        let out = &mut self.tar;
        let mut write = || -> io::Result<()> {
            out.write_all(load_archive::header(name, len)?.as_bytes())?;
            out.write_all(bytes)?;
            load_archive::pad(out, len)
        };
        write().map_err(|source| self.scratch.error(source))
    }

    fn cat(&mut self, word: &[u8]) {
        if self.words.len() + word.len() > MAX_WORDS {
            self.flush_words();
        }
        self.words.push(b' ');
        self.words.extend_from_slice(word);
    }

    fn flush_words(&mut self) {
        if !self.words.is_empty() {
            self.script.extend_from_slice(b"cat");
            self.script.append(&mut self.words);
            self.script.push(b'\n');
        }
    }
}
