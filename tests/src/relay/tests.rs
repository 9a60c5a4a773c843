use std::net::Ipv4Addr;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_secs(10);
const NOT_YET: Duration = Duration::from_millis(150);

/// Sends every connection's bytes back.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

fn client(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn echo(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn each_direction_is_counted_to_the_byte() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let stream = client(&relay);
    echo(&stream, b"hello");
    let first = relay.traffic();
    assert_eq!(first, Traffic { to_target: 5, from_target: 5, connections: 1 });
    echo(&client(&relay), &[7; 300_000]);
    assert_eq!(relay.traffic().since(first), Traffic { to_target: 300_000, from_target: 300_000, connections: 1 });
}

#[test]
fn a_cut_holds_bytes_and_healing_delivers_them() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let mut stream = client(&relay);
    echo(&stream, b"before");
    relay.cut();
    stream.write_all(b"held").unwrap();
    stream.set_read_timeout(Some(NOT_YET)).unwrap();
    assert!(stream.read(&mut [0; 4]).is_err(), "bytes pass a cut relay");
    assert_eq!(relay.traffic().to_target, 6);
    relay.heal();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
}

#[test]
fn a_connection_made_during_a_cut_is_served_after_it() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    relay.cut();
    let stream = client(&relay);
    let healer = thread::scope(|scope| {
        let echoing = scope.spawn(|| echo(&stream, b"late"));
        thread::sleep(NOT_YET);
        assert!(!echoing.is_finished());
        relay.heal();
        echoing.join()
    });
    healer.unwrap();
}

#[test]
fn a_reset_is_a_tcp_reset_and_leaves_no_connection() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let mut stream = client(&relay);
    echo(&stream, b"open");
    assert_eq!(relay.open_connections(), 1);
    relay.reset();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(relay.open_connections(), 0);
    echo(&client(&relay), b"again");
}

#[test]
fn a_reset_ends_a_connection_whose_bytes_are_held() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let mut stream = client(&relay);
    echo(&stream, b"open");
    relay.cut();
    stream.write_all(b"lost").unwrap();
    thread::sleep(NOT_YET);
    relay.reset();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(relay.traffic().to_target, 4);
}

#[test]
fn a_half_close_is_passed_on() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let mut stream = client(&relay);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "last words");
}

#[test]
fn a_dropped_relay_listens_no_more() {
    let relay = Relay::start(LOOPBACK, echo_server()).unwrap();
    let (address, mut stream) = (relay.address(), client(&relay));
    echo(&stream, b"open");
    drop(relay);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(TcpStream::connect(address).is_err());
}
