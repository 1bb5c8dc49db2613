//! What is answered.

use std::borrow::Cow;

use crate::request::Method;

/// An answer, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// How it went.
    pub status: Status,
    /// `Content-Type` of the body.
    pub content_type: &'static str,
    /// The body; left out when the request was HEAD.
    pub body: Cow<'static, [u8]>,
}

/// The status codes that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 413
    ContentTooLarge,
    /// 431
    HeaderFieldsTooLarge,
    /// 503
    ServiceUnavailable,
    /// 505
    VersionNotSupported,
}

impl Response {
    /// An answer in plain text.
    #[must_use]
    pub fn text(status: Status, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// The answer whose body is only the status in words.
    #[must_use]
    pub fn bare(status: Status) -> Self {
        let (code, reason) = status.line();
        Self::text(status, format!("{code} {reason}\n"))
    }

    /// Appends the answer as bytes. Without a clock there is no `Date` (RFC 9110 §6.6.1: a server
    /// without one "MUST NOT generate" it).
    pub(crate) fn write(&self, method: Option<Method>, close: bool, output: &mut Vec<u8>) {
        let (code, reason) = self.status.line();
        let (kind, length) = (self.content_type, self.body.len());
        let mut head = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\n"
        );
        if self.status == Status::MethodNotAllowed {
            // RFC 9110 §15.5.6: the server "MUST generate an Allow header field".
            head.push_str("Allow: GET, HEAD\r\n");
        }
        head.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
        output.extend_from_slice(head.as_bytes());
        if method != Some(Method::Head) {
            output.extend_from_slice(&self.body);
        }
    }
}

impl Status {
    const fn line(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::BadRequest => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::ContentTooLarge => (413, "Content Too Large"),
            Self::HeaderFieldsTooLarge => (431, "Request Header Fields Too Large"),
            Self::ServiceUnavailable => (503, "Service Unavailable"),
            Self::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }
}
