//! Pipelines requests to docker's API: on a link with a long round trip, a hundred inspections cost
//! a single one. (hyper's client waits for each answer.)

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::host::{ByteStream, OUTPUT_LIMIT};

/// The most bytes of an answer's head, and of the login shell's output before the first one.
const HEAD_LIMIT: usize = 64 << 10;

/// The most headers of an answer; docker sends six or seven.
const MOST_HEADERS: usize = 64;

/// The beginning of every answer.
const BEGIN: &[u8] = b"HTTP/1.";

/// A connection to docker's API.
pub(super) struct Connection {
    reader: ReadHalf<Box<dyn ByteStream>>,
    writer: WriteHalf<Box<dyn ByteStream>>,
    /// Bytes that were read but not used yet.
    buffer: Vec<u8>,
    /// The number of bytes that may still be read.
    left: usize,
}

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn ByteStream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            buffer: vec![],
            left: OUTPUT_LIMIT,
        }
    }

    /// Requests these paths and returns the answers in the same order.
    ///
    /// # Errors
    /// The connection ends, or the answers are not HTTP or exceed the limit.
    pub(super) async fn get<S: AsRef<str>>(&mut self, paths: &[S]) -> io::Result<Vec<Answer>> {
        let requests = paths.iter().map(|path| {
            let path = path.as_ref();
            format!("GET {path} HTTP/1.1\r\nHost: docker\r\nAccept: application/json\r\n\r\n")
        });
        let requests: String = requests.collect();
        let Self {
            reader,
            writer,
            buffer,
            left,
        } = self;
        let send = async {
            writer.write_all(requests.as_bytes()).await?;
            writer.flush().await
        };
        let receive = async {
            let mut source = Source {
                reader,
                buffer,
                left,
            };
            let mut answers = Vec::with_capacity(paths.len());
            for _ in paths {
                answers.push(source.answer().await?);
            }
            Ok(answers)
        };
        let ((), answers) = tokio::try_join!(send, receive)?;
        Ok(answers)
    }
}

struct Source<'a> {
    reader: &'a mut ReadHalf<Box<dyn ByteStream>>,
    buffer: &'a mut Vec<u8>,
    left: &'a mut usize,
}

/// How the length of an answer's body is given.
enum Body {
    Length(usize),
    Chunks,
}

impl Source<'_> {
    async fn more(&mut self) -> io::Result<()> {
        let read = self.reader.read_buf(self.buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self.left = self
            .left
            .checked_sub(read)
            .ok_or_else(|| garbage("the answer is too large"))?;
        Ok(())
    }

    /// Returns the next `count` bytes.
    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > OUTPUT_LIMIT {
            return Err(garbage("the body is too large"));
        }
        while self.buffer.len() < count {
            self.more().await?;
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(self.buffer, rest))
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let (status, body) = self.head().await?;
        let body = match body {
            Body::Length(length) => self.take(length).await?,
            Body::Chunks => self.chunks().await?,
        };
        Ok(Answer { status, body })
    }

    /// Returns an answer's status and how its body ends. Skips output of the login shell before it.
    async fn head(&mut self) -> io::Result<(u16, Body)> {
        loop {
            if let Some(begin) = self.buffer.windows(BEGIN.len()).position(|w| w == BEGIN) {
                self.buffer.drain(..begin);
                let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
                let mut response = httparse::Response::new(&mut headers);
                let parsed = response.parse(self.buffer).map_err(garbage)?;
                if let httparse::Status::Complete(length) = parsed {
                    let status = response.code.unwrap_or_default();
                    let body = body(response.headers)?;
                    self.buffer.drain(..length);
                    return Ok((status, body));
                }
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(garbage("the head of an answer does not end"));
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = vec![];
        loop {
            let parsed = httparse::parse_chunk_size(self.buffer);
            match parsed.map_err(|_| garbage("not the size of a chunk"))? {
                httparse::Status::Partial => self.more().await?,
                httparse::Status::Complete((head, size)) => {
                    self.buffer.drain(..head);
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    // The last chunk is empty. Docker sends no trailers; they would not be an empty
                    // line.
                    let chunk = self.take(size).await?;
                    if self.take(2).await? != b"\r\n" {
                        return Err(garbage("a chunk does not end"));
                    }
                    if size == 0 {
                        return Ok(body);
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
    }
}

fn body(headers: &[httparse::Header<'_>]) -> io::Result<Body> {
    let value = |name: &str| {
        let header = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    if value("Transfer-Encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
        return Ok(Body::Chunks);
    }
    let length = value("Content-Length").and_then(|length| length.trim().parse().ok());
    let length = length.ok_or_else(|| garbage("an answer without a length"))?;
    Ok(Body::Length(length))
}

fn garbage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses answers that arrive in pieces of this size.
    async fn answers(bytes: &'static [u8], count: usize, piece: usize) -> io::Result<Vec<Answer>> {
        let (ours, theirs) = tokio::io::duplex(64);
        let (mut asked, mut answers) = tokio::io::split(theirs);
        let server = tokio::spawn(async move {
            let send = async {
                for piece in bytes.chunks(piece) {
                    answers.write_all(piece).await?;
                }
                answers.shutdown().await
            };
            let mut sink = tokio::io::sink();
            let _ = tokio::join!(send, tokio::io::copy(&mut asked, &mut sink));
        });
        let answers = Connection::new(Box::new(ours))
            .get(&vec!["/x"; count])
            .await;
        server.abort();
        answers
    }

    #[tokio::test]
    async fn answers_of_any_form_in_any_pieces_are_parsed() {
        let sent = b"Welcome to the VPU!HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 Not Found\r\n\
                     content-length: 0\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n\
                     2;x=y\r\nde\r\n0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\n!";
        let expected: Vec<Answer> = [(200, "hello"), (404, ""), (200, "abcde"), (500, "!")]
            .map(|(status, body)| Answer {
                status,
                body: body.into(),
            })
            .into();
        for piece in [1, 2, 7, 1000] {
            assert_eq!(answers(sent, 4, piece).await.unwrap(), expected, "{piece}");
        }
    }

    #[tokio::test]
    async fn invalid_or_too_long_answers_are_rejected() {
        for (sent, kind) in [
            (&b""[..], io::ErrorKind::UnexpectedEof),
            (
                b"bash: docker: command not found\n",
                io::ErrorKind::UnexpectedEof,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
                io::ErrorKind::UnexpectedEof,
            ),
            (b"HTTP/1.1 OK\r\n\r\n", io::ErrorKind::InvalidData),
            (
                b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
                io::ErrorKind::InvalidData,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
                io::ErrorKind::InvalidData,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                io::ErrorKind::InvalidData,
            ),
        ] {
            let error = answers(sent, 1, 1000).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{}", String::from_utf8_lossy(sent));
        }
        let endless: &'static [u8] = Box::leak(vec![b'x'; HEAD_LIMIT + 100].into_boxed_slice());
        let error = answers(endless, 1, 1 << 20).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
