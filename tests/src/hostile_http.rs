//! Requests that a hostile client may send, with the code that each gets: one table for the hub's gateway and for kube-apiserver.

/// One request, byte for byte.
pub struct Case {
    pub what: &'static str,
    pub bytes: Vec<u8>,
    /// What the gateway answers; 200 and 404 come from behind it. 0: the connection is closed without an answer.
    pub gateway: u16,
    /// What kube-apiserver answers to the same.
    pub apiserver: u16,
}

/// The table, for paths below `prefix` and the holder of a token.
pub fn cases(prefix: &str, token: &str) -> Vec<Case> {
    let line = |start: &str, rest: &str| {
        format!("{start} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{rest}\r\n")
    };
    let get = |path: &str| line(&format!("GET {prefix}{path}"), "");
    let with = |rest: &str| line(&format!("GET {prefix}/version"), rest);
    let post = |rest: &str| line(&format!("POST {prefix}/version"), rest);
    let many: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    let case = |what, text: String, gateway, apiserver| Case { what, bytes: text.into_bytes(), gateway, apiserver };
    vec![
        case("an ordinary request", get("/version"), 200, 200),
        case("dot segments that leave", get("/../../etc/passwd"), 400, 404),
        case("dot segments that leave, encoded", get("/%2e%2e/%2e%2e/version"), 400, 404),
        case("dot segments that leave behind encoded slashes", get("/a%2f..%2f..%2fversion"), 400, 404),
        case("a broken escape", get("/%zz"), 400, 400),
        case("a blank in the path", get("/a b"), 400, 400),
        case("a control character in the path", get("/a\u{1}b"), 400, 400),
        case("an absolute URL of another host", line(&format!("GET http://evil.example{prefix}/version"), ""), 200, 200),
        case("a path without its slash", line("GET version", ""), 404, 400),
        case("CONNECT", line("CONNECT evil.example:443", ""), 404, 404),
        case("TRACE", line(&format!("TRACE {prefix}/version"), ""), 405, 405),
        case("a method in lower case", line(&format!("get {prefix}/version"), ""), 405, 405),
        case("no version", format!("GET {prefix}/version\r\n\r\n"), 400, 400),
        case("a version that is none", format!("GET {prefix}/version HTTP/9.9\r\nHost: h\r\n\r\n"), 400, 505),
        case("no Host", format!("GET {prefix}/version HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"), 400, 400),
        case("two Hosts", with("Host: other\r\n"), 400, 400),
        // Both go by the chunks, and what is forwarded has no framing of HTTP.
        case("a length and chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 200, 405),
        case("chunks and a length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n", 200, 405),
        case("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n") + "hello", 400, 400),
        case("a negative length", post("Content-Length: -1\r\n"), 400, 400),
        case("a signed length", post("Content-Length: +1\r\n") + "x", 400, 400),
        case("a length beyond all numbers", post("Content-Length: 99999999999999999999\r\n"), 400, 400),
        case("an unknown coding", post("Transfer-Encoding: gzip\r\n"), 400, 501),
        case("chunked and more", post("Transfer-Encoding: chunked, gzip\r\n"), 400, 501),
        case("chunked in disguise", post("Transfer-Encoding: xchunked\r\n"), 400, 501),
        case("a chunk that is none", post("Transfer-Encoding: chunked\r\n") + "xyz\r\n", 400, 405),
        case("a chunk beyond all numbers", post("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n", 400, 405),
        case("a folded header", with("X-A: a\r\n b\r\n"), 400, 200),
        case("a blank before the colon", with("X-A : a\r\n"), 400, 400),
        case("a header without a name", with(": a\r\n"), 400, 400),
        case("a NUL in a header", with("X-A: a\0b\r\n"), 400, 400),
        case("a bare CR in a header", with("X-A: a\rb\r\n"), 400, 400),
        case("many headers", with(&many), 431, 200),
        case("a header of 60 KiB", with(&format!("X-A: {}\r\n", "x".repeat(60 << 10))), 431, 200),
        case("a header of 2 MiB", with(&format!("X-A: {}\r\n", "x".repeat(2 << 20))), 431, 431),
        case("a path of 100 KiB", get(&format!("/{}", "x".repeat(100 << 10))), 414, 404),
        case("an expectation", with("Expect: miracles\r\n"), 417, 417),
        case("impersonation of the mighty", with("Impersonate-User: root\r\nImpersonate-Group: system:masters\r\n"), 403, 200),
        case("a front proxy's word", with("X-Remote-User: root\r\nX-Remote-Group: system:masters\r\n"), 200, 200),
        case("no caller", format!("GET {prefix}/api HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), 401, 403),
    ]
}
