use super::*;

fn head() -> RequestHead {
    RequestHead { method: "GET".into(), path: "/api".into(), ..RequestHead::default() }
}

fn with(name: &str, value: &[u8]) -> RequestHead {
    RequestHead { headers: vec![Header { name: name.into(), value: value.into() }], ..head() }
}

fn code(head: &RequestHead) -> Option<u16> {
    check(head).err().map(|refusal| refusal.code.as_u16())
}

#[test]
fn a_path_is_passed_on_byte_for_byte_or_refused() {
    for path in ["/", "/api/v1/pods?limit=5&x=%2F..", "//", "/a/../b", "/%2e%2e/%2F", "/a;b=\"{c}|d~", "/?"] {
        let checked = check(&RequestHead { path: path.into(), ..head() }).unwrap();
        assert_eq!(checked.path.as_str(), path);
    }
    for path in ["", "api", "*", "http://other/", "/a b", "/a\r\nHost: x", "/a\0", "/a#b", "/\u{e4}", "/\u{7f}", "/a\tb"] {
        assert_eq!(code(&RequestHead { path: path.into(), ..head() }), Some(400), "{path:?}");
    }
}

#[test]
fn only_the_methods_of_the_api_are_passed_on() {
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(code(&RequestHead { method: method.into(), ..head() }), None);
    }
    for method in ["CONNECT", "TRACE", "get", "", "GET ", "PRI", "GET /x HTTP/1.1\r\nA: b\r\n\r\n"] {
        assert_eq!(code(&RequestHead { method: method.into(), ..head() }), Some(405), "{method:?}");
    }
}

#[test]
fn headers_that_say_who_asks_or_end_at_one_connection_are_refused_in_any_case() {
    for name in HOP_BY_HOP.iter().chain(&IDENTITY) {
        assert_eq!(code(&with(name, b"x")), Some(400), "{name}");
        assert_eq!(code(&with(&name.to_uppercase(), b"x")), Some(400), "{name}");
    }
    for name in ["Impersonate-User", "impersonate-extra-scopes", "X-Remote-User", "X-Remote-Extra-a", "X-Forwarded-For"] {
        assert_eq!(code(&with(name, b"x")), Some(400), "{name}");
    }
    assert_eq!(code(&with("x-forwarded", b"x")), None);
    let token = b"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4";
    assert_eq!(code(&with("Sec-WebSocket-Protocol", token)), Some(400));
    assert_eq!(code(&with("Sec-WebSocket-Protocol", b"v5.channel.k8s.io")), None);
}

#[test]
fn what_could_end_a_header_early_is_refused() {
    for (name, value) in
        [("", &b"x"[..]), ("a b", b"x"), ("a:b", b"x"), ("a\r\n", b"x"), ("a", b"x\r\ny: z"), ("a", b"\0"), ("\u{e4}", b"x")]
    {
        assert_eq!(code(&with(name, value)), Some(400), "{name:?} {value:?}");
    }
    assert_eq!(code(&with("accept", "application/json;as=Table;ä".as_bytes())), None);
}

#[test]
fn one_content_length_in_digits_is_taken_and_nothing_else() {
    assert_eq!(check(&with("Content-Length", b"12")).unwrap().length, Some(12));
    assert!(check(&with("Content-Length", b"12")).unwrap().headers.is_empty());
    for value in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
        assert_eq!(code(&with("content-length", value.as_bytes())), Some(400), "{value:?}");
    }
    let mut twice = with("content-length", b"1");
    twice.headers.push(twice.headers[0].clone());
    assert_eq!(code(&twice), Some(400));
}

#[test]
fn an_unknown_upgrade_is_not_asked_for() {
    let upgrade = |text: &str| check(&RequestHead { upgrade: text.into(), ..head() }).unwrap().upgrade;
    assert_eq!(upgrade("WebSocket").unwrap(), "websocket");
    assert_eq!(upgrade("SPDY/3.1").unwrap(), "SPDY/3.1");
    for odd in ["", "h2c", "websocket, h2c", "websocket\r\nx: y"] {
        assert_eq!(upgrade(odd), None);
    }
}

#[test]
fn an_authority_is_a_host_and_a_port_and_nothing_else() {
    let other = |target: Target, authority: &str| {
        let head = RequestHead { target: target.into(), authority: authority.into(), ..head() };
        check(&head).map(|checked| match checked.place {
            Place::Other(other) => (other.host, other.port),
            Place::Api => panic!("the API server"),
        })
    };
    assert_eq!(other(Target::Https, "Web.shop.svc.").unwrap(), (Host::Name("web.shop.svc".into()), 443));
    assert_eq!(other(Target::Http, "10.0.0.1:8080").unwrap(), (Host::Address([10, 0, 0, 1].into()), 8080));
    assert_eq!(other(Target::Http, "[::1]").unwrap(), (Host::Address("::1".parse().unwrap()), 80));
    for odd in [
        "",
        "a@b",
        "a:0",
        "a:",
        "a:99999",
        "a/b",
        "a b",
        "::1",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "a..b",
        "[1.2.3.4]",
        "[fe80::1%25eth0]",
    ] {
        assert!(other(Target::Http, odd).is_err(), "{odd:?}");
    }
    assert_eq!(code(&RequestHead { authority: "x".into(), ..head() }), Some(400));
    assert_eq!(code(&RequestHead { target: 9, ..head() }), Some(400));
}
