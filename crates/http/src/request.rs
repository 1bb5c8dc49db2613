//! What is asked: the head of a request, read strictly.

use crate::response::Status;

/// A request that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'h> {
    /// What to do.
    pub method: Method,
    /// The path, without a query.
    pub path: &'h str,
}

/// The methods that we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head alone.
    Head,
}

/// A head read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'h> {
    pub(crate) request: Request<'h>,
    /// Whether the client wants the connection closed after the answer.
    pub(crate) close: bool,
    /// Bytes of the head.
    pub(crate) len: usize,
}

impl<'h> Head<'h> {
    /// Reads a head at the front of `bytes`; `None` if its end is not there yet.
    ///
    /// # Errors
    /// The status that refuses it; the connection then has to be closed, because nobody knows where
    /// the next request begins.
    pub(crate) fn read(bytes: &'h [u8]) -> Result<Option<Self>, Status> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let len = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_LIMIT => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Status::HeaderFieldsTooLarge);
            }
            Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
            Err(_) => return Err(Status::BadRequest),
        };
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(Status::BadRequest);
        };
        let close = check_fields(parsed.headers, parsed.version == Some(1))?;
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return Err(Status::MethodNotAllowed),
        };
        Ok(Some(Self { request: Request { method, path: path(target)? }, close, len }))
    }
}

/// Refuses a body and a wrong `Host`; true when the connection is to be closed.
fn check_fields(headers: &[httparse::Header<'_>], version_1_1: bool) -> Result<bool, Status> {
    let mut hosts = 0;
    let mut close = !version_1_1;
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("content-length") && header.value != b"0" || is("transfer-encoding") {
            return Err(Status::ContentTooLarge);
        } else if is("connection") {
            let mut options = header.value.split(|byte| *byte == b',');
            close |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
    }
    // RFC 9112 §3.2: 400 to "any HTTP/1.1 request message that lacks a Host header field and to any
    // request message that contains more than one".
    if hosts > 1 || hosts == 0 && version_1_1 {
        return Err(Status::BadRequest);
    }
    Ok(close)
}

/// The path of a request target. RFC 9112 §3.2.2: "a server MUST accept the absolute-form".
fn path(target: &str) -> Result<&str, Status> {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    if !origin.starts_with('/') {
        return Err(Status::BadRequest);
    }
    Ok(origin.split_once('?').map_or(origin, |(path, _)| path))
}

/// Bytes that the head of a request may have.
pub const HEAD_LIMIT: usize = 4_096;

/// Header fields that a request may have.
const HEADERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::{Head, Method};
    use crate::Status;

    fn read(text: &str) -> Result<Option<(Method, String, bool)>, Status> {
        let head = Head::read(text.as_bytes())?;
        Ok(head.map(|head| (head.request.method, head.request.path.to_owned(), head.close)))
    }

    #[test]
    fn reads_what_probes_send() {
        for (text, method, path, close) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Method::Get, "/", false),
            ("GET /a?b=/c HTTP/1.1\r\nhost:\r\n\r\n", Method::Get, "/a", false),
            ("HEAD /a HTTP/1.0\r\n\r\n", Method::Head, "/a", true),
            ("GET http://a:1/b HTTP/1.1\r\nHost: a\r\n\r\n", Method::Get, "/b", false),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", Method::Get, "/", false),
            (
                "\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n",
                Method::Get,
                "/",
                true,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Method::Get, "/", false),
        ] {
            assert_eq!(read(text), Ok(Some((method, path.to_owned(), close))), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("\u{16}\u{3}\u{1}", Status::BadRequest),
            ("GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Status::ContentTooLarge),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                Status::ContentTooLarge,
            ),
        ] {
            assert_eq!(read(text), Err(status), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(40));
        assert_eq!(read(&many), Err(Status::HeaderFieldsTooLarge));
    }

    #[test]
    fn waits_for_the_end_of_a_head() {
        let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), Ok(None), "{len} bytes");
        }
    }
}
