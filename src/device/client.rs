//! Calls the device's own API: XML-RPC over HTTP, over the host's connection.

use std::time::Duration;

use dxr::{TryFromValue as _, TryToParams as _};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::DeviceError;
use crate::host::{Host, HostError};
use o3r_core::names::escape;

/// The API's path; the trailing slash is required.
const PATH: &str = "/api/rpc/v1/com.ifm.efector/";

/// A healthy device answers in a few milliseconds; one that is booting or busy may take seconds.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How soon a tunnel to a port without a listener is closed: one round trip, also over a VPN.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// How soon an answer is read that had arrived when the connection ended.
const BUFFERED_WITHIN: Duration = Duration::from_secs(1);

/// The most bytes of an answer; the whole configuration of an O3R with six cameras has some 200 kB.
const ANSWER_LIMIT: usize = 8 << 20;

/// The most characters of a fault's text that are shown.
const FAULT_LIMIT: usize = 500;

/// The supported methods, by the type of their parameters.
const OF_NOTHING: &[&str] = &["getInit", "getSchema"];
const OF_A_STRING: &[&str] = &["set"];
const OF_A_LIST: &[&str] = &["get", "saveInit"];

/// Calls a method. `words` is the method with its parameters: `["get", "/device/info", …]`,
/// `["set", "{…}"]`, `["saveInit", "/device/info/name", …]` or `["getInit"]`. Returns the string
/// in the answer, which is empty for a method without a result.
///
/// # Errors
/// There is no answer, it is not the API's, or it is a fault.
pub async fn call<H: Host, S: AsRef<str> + Sync>(
    host: &H,
    port: u16,
    words: &[S],
) -> Result<String, DeviceError> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let body = request_body(&words)?;
    let exchange = async {
        let stream = host.connect(port).await?;
        post(stream, port, body).await
    };
    let result = tokio::time::timeout(TIMEOUT, exchange).await;
    let method = words.first().copied().unwrap_or_default().to_owned();
    match result {
        Ok(Ok(answer)) => parse_answer(&answer),
        Ok(Err(DeviceError::Cut { port })) if !listens(host, port).await? => {
            Err(if host.forbids_connecting().await {
                DeviceError::Forbidden { port }
            } else {
                DeviceError::NotListening { port }
            })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DeviceError::Timeout { port, method }),
    }
}

/// Whether the port has a listener: through a tunnel, a port without one looks like a connection
/// that is closed at once.
async fn listens<H: Host>(host: &H, port: u16) -> Result<bool, HostError> {
    let mut stream = host.connect(port).await?;
    let first = tokio::time::timeout(CLOSED_WITHIN, stream.read(&mut [0; 1])).await;
    Ok(first.is_err())
}

fn request_body(words: &[&str]) -> Result<String, DeviceError> {
    let bad = || DeviceError::Method {
        words: words.join(" "),
    };
    let params = match words {
        [method] if OF_NOTHING.contains(method) => Ok(vec![]),
        [method, text] if OF_A_STRING.contains(method) => (*text,).try_to_params(),
        [method, list @ ..] if OF_A_LIST.contains(method) => (list.to_vec(),).try_to_params(),
        _ => return Err(bad()),
    };
    let call = dxr::MethodCall {
        name: words[0].into(),
        params: params.map_err(|_| bad())?,
    };
    let mut xml = call.to_xml().map_err(|_| bad())?;
    if call.params.is_empty() {
        // The element is optional, but ifm's own clients never omit it.
        xml = xml.replace("</methodCall>", "<params/></methodCall>");
    }
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{xml}"))
}

/// Performs an HTTP request on a connection of its own.
async fn post(
    stream: Box<dyn crate::host::ByteStream>,
    port: u16,
    body: String,
) -> Result<Bytes, DeviceError> {
    let http = |error: hyper::Error| {
        if error.is_parse() {
            DeviceError::Garbage { expected: "HTTP" }
        } else {
            DeviceError::Cut { port }
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let request = Request::post(PATH)
        .header("Host", "127.0.0.1")
        .header("Content-Type", "text/xml")
        .header("Connection", "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| DeviceError::Garbage { expected: "HTTP" })?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(http)?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => DeviceError::TooLong,
                None => DeviceError::Truncated { port },
            })?;
        Ok((status, answer.to_bytes()))
    };
    // hyper (1.12) never answers a request that it takes while the connection closes.
    let mut exchange = std::pin::pin!(exchange);
    let (status, answer) = tokio::select! {
        biased;
        done = &mut exchange => done,
        _ = connection => tokio::time::timeout(BUFFERED_WITHIN, exchange)
            .await
            .unwrap_or(Err(DeviceError::Cut { port })),
    }?;
    if status.is_success() {
        Ok(answer)
    } else {
        Err(DeviceError::Status {
            port,
            status: status.as_u16(),
        })
    }
}

/// Parses an XML-RPC answer: returns its string, or its fault as an error.
fn parse_answer(answer: &[u8]) -> Result<String, DeviceError> {
    let garbage = || DeviceError::Garbage {
        expected: "XML-RPC",
    };
    let text = std::str::from_utf8(answer).map_err(|_| garbage())?;
    if let Ok(dxr::FaultResponse { fault }) = dxr::FaultResponse::from_xml(text) {
        return Err(DeviceError::Fault {
            code: fault.code(),
            text: escape(&fault.string().chars().take(FAULT_LIMIT).collect::<String>()),
        });
    }
    let response = dxr::MethodResponse::from_xml(text).map_err(|_| garbage())?;
    // The results of `set` and `saveInit` have no meaning, whatever their type.
    Ok(String::try_from_value(&response.value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = "<?xml version='1.0'?><methodResponse><params><param><value><string>{\"a\": \"&lt;\"}\
                          </string></value></param></params></methodResponse>";

    #[test]
    fn an_answer_is_a_string_a_fault_or_garbage() {
        assert_eq!(parse_answer(ANSWER.as_bytes()).unwrap(), "{\"a\": \"<\"}");
        let nothing = ANSWER.replace("<string>{\"a\": \"&lt;\"}</string>", "<boolean>1</boolean>");
        assert_eq!(parse_answer(nothing.as_bytes()).unwrap(), "");
        let fault = b"<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name>\
                      <value><int>104012</int></value></member><member><name>faultString</name><value><string>JSON \
                      Path not valid: /x</string></value></member></struct></value></fault></methodResponse>";
        let refused = parse_answer(fault).unwrap_err().to_string();
        assert!(
            refused.ends_with("fault 104012: JSON Path not valid: /x"),
            "{refused}"
        );
        for garbage in [
            &b""[..],
            b"\x00\xff",
            b"<html></html>",
            b"{}",
            b"<methodResponse>",
        ] {
            let error = parse_answer(garbage).unwrap_err();
            assert!(matches!(error, DeviceError::Garbage { .. }), "{error}");
        }
    }

    #[test]
    fn an_answer_of_endless_depth_is_garbage() {
        let deep = "<value><array><data>".repeat(50_000);
        let answer = format!("<?xml version='1.0'?><methodResponse><params><param>{deep}");
        let error = parse_answer(answer.as_bytes()).unwrap_err();
        assert!(matches!(error, DeviceError::Garbage { .. }), "{error}");
    }

    #[test]
    fn methods_take_the_api_s_parameters() {
        for (words, part) in [
            (
                &["getInit"][..],
                "<methodName>getInit</methodName><params/></methodCall>",
            ),
            (
                &["set", "<&>"],
                "<param><value><string>&lt;&amp;&gt;</string></value></param>",
            ),
            (&["get"], "<array><data"),
            (
                &["saveInit", "/a"],
                "<array><data><value><string>/a</string></value></data></array>",
            ),
        ] {
            let body = request_body(words).unwrap();
            assert!(body.contains(part), "{body}");
        }
        for words in [
            &["reboot"][..],
            &["set"],
            &["set", "a", "b"],
            &["getInit", "x"],
            &[],
        ] {
            assert!(
                matches!(request_body(words), Err(DeviceError::Method { .. })),
                "{words:?}"
            );
        }
    }

    /// ssh closes a tunnel to a port without a listener at any moment of the request.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_closed_connection_is_noticed_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port-80");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            for turn in 0_u64.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                match turn % 4 {
                    0 => {}
                    1 => tokio::task::yield_now().await,
                    2 => std::thread::sleep(Duration::from_micros(turn % 97)),
                    _ => drop(stream.read(&mut [0; 10]).await),
                }
            }
        });
        for turn in 0..20_000 {
            let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            let answer = post(Box::new(stream), 80, "x".repeat(300));
            let answer = tokio::time::timeout(TIMEOUT / 2, answer).await;
            let cut = matches!(answer, Ok(Err(DeviceError::Cut { port: 80 })));
            assert!(cut, "{turn}: {answer:?}");
        }
        server.abort();
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = ANSWER.as_bytes().to_vec();
            for (index, byte) in edits {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.truncate(cut.index(bytes.len() * 3));
            let _ = parse_answer(&bytes);
        }
    }
}
