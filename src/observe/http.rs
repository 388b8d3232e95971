//! HTTP/1.1 as far as a read-only endpoint needs it (RFC 9112): GET and HEAD, a response, and the end of the
//! connection.

use std::fmt::Write;

/// The most that a request may have, in bytes.
pub const LONGEST_REQUEST: usize = 8 << 10;

/// The most lines that its head may have.
const MOST_HEADERS: usize = 64;

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The path, without what follows a `?`.
    pub path: String,
    /// What follows a `?`.
    pub query: String,
    /// Whether the client wants the head of the response only.
    pub is_head: bool,
    /// The header `Accept`.
    pub accept: String,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misrequest {
    /// It is not all there yet.
    Partial,
    /// It is answered with this status.
    Refused(Status),
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 431.
    TooLarge,
    /// 503.
    Unavailable,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Status; 7] = [
        Status::Ok,
        Status::BadRequest,
        Status::Forbidden,
        Status::NotFound,
        Status::MethodNotAllowed,
        Status::TooLarge,
        Status::Unavailable,
    ];

    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Status::Ok => 200,
            Status::BadRequest => 400,
            Status::Forbidden => 403,
            Status::NotFound => 404,
            Status::MethodNotAllowed => 405,
            Status::TooLarge => 431,
            Status::Unavailable => 503,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::BadRequest => "Bad Request",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::TooLarge => "Request Header Fields Too Large",
            Status::Unavailable => "Service Unavailable",
        }
    }
}

/// A response, without the head that all have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: Status,
    /// The header `Content-Type`.
    pub kind: &'static str,
    /// More headers, each a whole line without its end.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl HttpResponse {
    /// A line of text for people.
    pub fn text(status: Status, body: impl Into<String>) -> HttpResponse {
        HttpResponse { status, kind: "text/plain; charset=utf-8", headers: Vec::new(), body: body.into() }
    }

    /// The bytes to send.
    pub fn encode(&self, without_body: bool) -> Vec<u8> {
        let HttpResponse { status, kind, headers, body } = self;
        let (code, reason, length) = (status.code(), status.reason(), body.len());
        let mut text = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
        );
        // A String takes whatever is written.
        headers.iter().for_each(|line| _ = write!(text, "{line}\r\n"));
        if *status == Status::MethodNotAllowed {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if !without_body {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

/// Reads the head of a request.
pub fn parse(bytes: &[u8]) -> Result<HttpRequest, Misrequest> {
    let refused = |status| Err(Misrequest::Refused(status));
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_REQUEST => return Err(Misrequest::Partial),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refused(Status::TooLarge);
        }
        Err(_) => return refused(Status::BadRequest),
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return refused(Status::MethodNotAllowed),
    };
    let target = head.path.unwrap_or_default();
    // The absolute form, as a proxy sends it (RFC 9112, section 3.2.2).
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |path| &rest[path..]),
        _ => target,
    };
    if !target.starts_with('/') {
        return refused(Status::BadRequest);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let accept = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("accept"));
    let accept = accept.map(|header| String::from_utf8_lossy(header.value).into_owned());
    Ok(HttpRequest {
        path: path.to_owned(),
        query: query.to_owned(),
        is_head,
        accept: accept.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, String, bool), Misrequest> {
        parse(text.as_bytes()).map(|request| (request.path, request.query, request.is_head))
    }

    #[test]
    fn a_request_is_its_path() {
        let of = |path: &str, query: &str, is_head| Ok((path.to_owned(), query.to_owned(), is_head));
        assert_eq!(read("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), of("/metrics", "", false));
        assert_eq!(read("HEAD /?a=b HTTP/1.0\r\n\r\n"), of("/", "a=b", true));
        assert_eq!(read("GET http://h:9862/status HTTP/1.1\r\n\r\n"), of("/status", "", false));
        assert_eq!(read("GET http://h HTTP/1.1\r\n\r\n"), of("/", "", false));
        let accepting = parse(b"GET / HTTP/1.1\r\naccept: text/html\r\n\r\n").unwrap();
        assert_eq!(accepting.accept, "text/html");
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_status() {
        let refused = |status| Err(Misrequest::Refused(status));
        assert_eq!(read("GET /metrics HTTP/1.1\r\nHost:"), Err(Misrequest::Partial));
        assert_eq!(read(""), Err(Misrequest::Partial));
        assert_eq!(read("POST / HTTP/1.1\r\n\r\n"), refused(Status::MethodNotAllowed));
        assert_eq!(read("\0\x01\x02\r\n\r\n"), refused(Status::BadRequest));
        assert_eq!(read("GET nothing HTTP/1.1\r\n\r\n"), refused(Status::BadRequest));
        assert_eq!(read("GET / HTTP/9.9\r\n\r\n"), refused(Status::BadRequest));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(LONGEST_REQUEST));
        assert_eq!(read(&long), refused(Status::TooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(read(&many), refused(Status::TooLarge));
    }

    #[test]
    fn a_response_says_how_long_it_is_and_that_it_ends() {
        let response = HttpResponse::text(Status::MethodNotAllowed, "no\n");
        let text = String::from_utf8(response.encode(false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
        for line in ["Content-Length: 3", "Connection: close", "Allow: GET, HEAD", "Cache-Control: no-store"]
        {
            assert!(text.contains(&format!("{line}\r\n")), "{text}");
        }
        assert!(text.ends_with("\r\n\r\nno\n"), "{text}");
        assert!(response.encode(true).ends_with(b"\r\n\r\n"), "a HEAD has the same head and no body");
    }
}
