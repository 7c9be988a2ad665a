//! Which requests are answered at all: the form of the target, its host, a body.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{HOST, TRANSFER_ENCODING},
    http::uri::Authority,
};

use super::{Limits, answer::Answer};

/// What a request says of itself before its path counts.
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) target: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    /// True where a body follows, or is announced.
    pub(super) body: bool,
}

/// Tells whether a body follows a head; `empty` is what its length says.
pub(super) fn has_body(headers: &HeaderMap, empty: bool) -> bool {
    !empty || headers.contains_key(TRANSFER_ENCODING)
}

/// Returns the answer that refuses a request, or `None` where its path is to be looked at.
///
/// `names` are the hosts, besides `localhost`, under which the server may be asked for; addresses always are. Another name
/// is that of a page which has its visitors ask here under its own name (DNS rebinding).
pub(super) fn refuse(asked: &Asked<'_>, names: &[String], limits: &Limits) -> Option<Answer> {
    let error = |status, says: &str| Some(Answer::error(status, says));
    let target = asked.target;
    if target.to_string().len() > limits.target_bytes_max {
        return error(StatusCode::URI_TOO_LONG, "the target is too long");
    }
    // A proxy's forms, `http://host/path` and `host:port`; nothing here is a proxy.
    if target.scheme().is_some() || target.authority().is_some() || !target.path().starts_with('/') {
        return error(StatusCode::BAD_REQUEST, "the target has to be a path");
    }
    let mut hosts = asked.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return error(StatusCode::BAD_REQUEST, "a request has one Host header");
    };
    let Some(host) = host.to_str().ok().and_then(host_in) else {
        return error(StatusCode::BAD_REQUEST, "the Host header is no host");
    };
    if !is_ours(&host, names) {
        let says = "not a host of this server; the option --allow-host permits a name";
        return error(StatusCode::MISDIRECTED_REQUEST, says);
    }
    if asked.method == Method::GET && asked.body {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body");
    }
    if target.query().is_some() {
        return error(StatusCode::BAD_REQUEST, "no query is understood");
    }
    None
}

/// Returns the host of a Host header, without its port.
fn host_in(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
    let port = text.strip_prefix(authority.host())?;
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port.then(|| authority.host().to_owned())
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_named = |name: &str| host.eq_ignore_ascii_case(name);
    bare.parse::<IpAddr>().is_ok() || is_named("localhost") || names.iter().any(|name| is_named(name))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn code(target: &str, hosts: &[&str], body: bool) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        let target = target.parse().unwrap();
        let asked = Asked { method: &Method::GET, target: &target, headers: &headers, body };
        refuse(&asked, &["drills.example".to_owned()], &Limits::default()).map(|answer| answer.status.as_u16())
    }

    #[test]
    fn hosts_are_addresses_localhost_and_what_is_allowed() {
        for host in ["127.0.0.1", "127.0.0.1:80", "[::1]:8080", "[::1]", "10.1.2.3", "LocalHost:1", "drills.example:80"]
        {
            assert_eq!(code("/x", &[host], false), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost.", "0x7f000001"] {
            assert_eq!(code("/x", &[host], false), Some(421), "{host}");
        }
        for host in ["", "localhost:99999", "localhost:", "a@localhost", "::1", "localhost/x", "local host"] {
            assert_eq!(code("/x", &[host], false), Some(400), "{host}");
        }
        assert_eq!(code("/x", &[], false), Some(400));
        assert_eq!(code("/x", &["localhost", "localhost"], false), Some(400));
    }

    #[test]
    fn only_a_path_without_query_and_body_is_looked_at() {
        let local = &["localhost"];
        for target in ["http://localhost/x", "localhost:80", "*"] {
            assert_eq!(code(target, local, false), Some(400), "{target}");
        }
        assert_eq!(code("/x?y", local, false), Some(400));
        assert_eq!(code("/x", local, true), Some(413));
        let longest = format!("/{}", "x".repeat(1023));
        assert_eq!(code(&longest, local, false), None);
        assert_eq!(code(&format!("{longest}x"), local, false), Some(414));
    }
}
