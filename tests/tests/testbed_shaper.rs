//! The shaped link does what it says, over real TCP and UDP between two network namespaces.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Shape, Shaper, Site, Way, leftovers};

const MS: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(20);

/// A site with a shaped link.
fn shaped(shape: Shape) -> Result<(Arc<Site>, Shaper)> {
    let site = Site::create()?;
    let shaper = Shaper::attach(&site, shape, 11)?;
    Ok((site, shaper))
}

/// A connection over the link: the site's end, the hub's end, and where the hub saw it come from.
fn connect(site: &Site, shaper: &Shaper) -> Result<(TcpStream, TcpStream, SocketAddr)> {
    let listener = TcpListener::bind((shaper.hub_address(), 0))?;
    let address = listener.local_addr()?;
    let near = site.within(|| Ok(TcpStream::connect_timeout(&address, SOON)?))?;
    let (far, from) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(SOON))?;
    }
    Ok((near, far, from))
}

fn echo(near: &mut TcpStream, far: &mut TcpStream) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut byte = [7];
    near.write_all(&byte)?;
    far.read_exact(&mut byte)?;
    far.write_all(&byte)?;
    near.read_exact(&mut byte)?;
    Ok(begun.elapsed())
}

fn udp(site: &Site, shaper: &Shaper) -> Result<(UdpSocket, UdpSocket)> {
    let far = UdpSocket::bind((shaper.hub_address(), 0))?;
    let address = far.local_addr()?;
    let near = site.within(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(address)?;
        Ok(socket)
    })?;
    far.set_read_timeout(Some(500 * MS))?;
    Ok((near, far))
}

/// Numbered packets, a few at a time, and the numbers that arrive in their order.
fn numbers(near: &UdpSocket, far: &UdpSocket, count: u32, pause: Duration) -> Result<Vec<u32>> {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..count {
                let _ = near.send(&number.to_be_bytes());
                std::thread::sleep(pause);
            }
        });
        let (mut found, mut bytes) = (Vec::new(), [0; 4]);
        loop {
            match far.recv(&mut bytes) {
                Ok(_) => found.push(u32::from_be_bytes(bytes)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(found),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

#[test]
fn every_byte_takes_the_delay_and_comes_from_the_nat() -> Result<()> {
    let (site, shaper) = shaped(Shape { delay: 40 * MS, jitter: 10 * MS, ..Shape::default() })?;
    let (mut near, mut far, from) = connect(&site, &shaper)?;
    ensure!(from.ip() == shaper.outside()[0] && from.port() != near.local_addr()?.port(), "{from}");
    for _ in 0..5 {
        let took = echo(&mut near, &mut far)?;
        ensure!(took >= 80 * MS, "{took:?} there and back");
    }
    eprintln!("          {}", shaper.counts());
    Ok(())
}

#[test]
fn packets_are_lost_and_overtaken_and_tcp_makes_good_for_it() -> Result<()> {
    let (site, shaper) = shaped(Shape { delay: 5 * MS, loss: 0.1, reorder: 0.05, late: 5 * MS, ..Shape::default() })?;
    let (near, far) = udp(&site, &shaper)?;
    let found = numbers(&near, &far, 2000, MS)?;
    let up = shaper.counts().up;
    ensure!(up.lost + found.len() as u64 == 2000 && (100..300).contains(&up.lost), "{} arrived: {}", found.len(), shaper.counts());
    ensure!(!found.is_sorted() && up.reordered > 0, "{}", shaper.counts());
    ensure!(found.iter().collect::<BTreeSet<_>>().len() == found.len(), "a packet came twice");

    let (mut near, mut far, _) = connect(&site, &shaper)?;
    let sent: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || near.write_all(&copy).map(|()| near));
    let mut heard = vec![0; sent.len()];
    far.read_exact(&mut heard)?;
    writer.join().expect("the writer ends")?;
    ensure!(heard == sent, "TCP delivered other bytes");
    ensure!(shaper.counts().up.lost > up.lost, "nothing was lost of TCP");
    eprintln!("          {}", shaper.counts());
    Ok(())
}

#[test]
fn a_rate_holds_and_its_queue_drops() -> Result<()> {
    // 1 Mbit/s: 250,000 bytes take 2 s, of which the queue hides none.
    let (site, shaper) = shaped(Shape { rate: Some(1_000_000), queue: 20_000, ..Shape::default() })?;
    let (mut near, mut far, _) = connect(&site, &shaper)?;
    let begun = Instant::now();
    let writer = std::thread::spawn(move || near.write_all(&[0; 250_000]).map(|()| near));
    far.read_exact(&mut vec![0; 250_000])?;
    let took = begun.elapsed();
    writer.join().expect("the writer ends")?;
    ensure!(took >= 2000 * MS, "250,000 bytes in {took:?}");
    ensure!(shaper.counts().up.overflowed > 0, "{}", shaper.counts());
    eprintln!("          {took:?}; {}", shaper.counts());
    Ok(())
}

#[test]
fn a_cut_of_one_or_both_ways_is_silent_until_healed() -> Result<()> {
    let (site, shaper) = shaped(Shape::default())?;
    let (mut near, mut far, _) = connect(&site, &shaper)?;
    echo(&mut near, &mut far)?;
    let silent = |end: &mut TcpStream| -> Result<bool> {
        end.set_read_timeout(Some(300 * MS))?;
        let silent = end.read(&mut [0]).is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        end.set_read_timeout(Some(SOON))?;
        Ok(silent)
    };
    shaper.cut_one(Way::Down);
    near.write_all(b"u")?;
    far.read_exact(&mut [0])?;
    far.write_all(b"d")?;
    ensure!(silent(&mut near)?, "bytes came over a cut way");
    shaper.cut();
    near.write_all(b"u")?;
    ensure!(silent(&mut far)?, "bytes came over a cut link");
    shaper.heal();
    near.read_exact(&mut [0])?;
    far.read_exact(&mut [0])?;
    let counts = shaper.counts();
    ensure!(counts.up.cut > 0 && counts.down.cut > 0, "{counts}");
    Ok(())
}

#[test]
fn a_nat_that_forgets_resets_connections_or_lets_them_wither() -> Result<()> {
    let (site, shaper) = shaped(Shape::default())?;
    let (mut near, mut far, before) = connect(&site, &shaper)?;
    shaper.rebind();
    // Now from another port, at which the hub's kernel knows of no connection.
    near.write_all(b"x")?;
    let error = near.read(&mut [0]).err().context("the connection goes on")?;
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    far.set_read_timeout(Some(300 * MS))?;
    ensure!(far.read(&mut [0]).is_err(), "the hub hears of it");
    let (mut near, mut far, after) = connect(&site, &shaper)?;
    ensure!(after.port() != before.port() && echo(&mut near, &mut far).is_ok());

    shaper.rebind_silently();
    near.set_read_timeout(Some(500 * MS))?;
    let error = echo(&mut near, &mut far.try_clone()?).err();
    far.set_read_timeout(Some(300 * MS))?;
    ensure!(far.read(&mut [0]).is_err(), "bytes of a connection that the NAT forgot came through");
    ensure!(error.is_none_or(|error| error.kind() != ErrorKind::ConnectionReset), "it was reset");
    let counts = shaper.counts();
    ensure!(counts.strangers > 0 && counts.rebindings == 2, "{counts}");
    Ok(())
}

#[test]
fn a_reset_reaches_both_ends_and_later_connections_pass() -> Result<()> {
    let (site, shaper) = shaped(Shape { delay: 10 * MS, ..Shape::default() })?;
    let (mut near, mut far, _) = connect(&site, &shaper)?;
    let (mut idle, mut idle_far, _) = connect(&site, &shaper)?;
    echo(&mut near, &mut far)?;
    echo(&mut idle, &mut idle_far)?;
    // One of them has bytes under way, both ways.
    near.write_all(&[0; 10_000])?;
    far.write_all(&[0; 10_000])?;
    shaper.reset();
    for end in [&mut near, &mut far, &mut idle, &mut idle_far] {
        let error = end.read_to_end(&mut Vec::new()).err().context("the connection ends in order")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    let (mut near, mut far, _) = connect(&site, &shaper)?;
    echo(&mut near, &mut far)?;
    Ok(())
}

#[test]
fn a_site_can_be_seen_at_another_address_and_get_another() -> Result<()> {
    let (site, shaper) = shaped(Shape::default())?;
    let seen = |_: &str| -> Result<(IpAddr, IpAddr)> {
        let (near, _, from) = connect(&site, &shaper)?;
        Ok((near.local_addr()?.ip(), from.ip()))
    };
    let first = seen("at first")?;
    shaper.move_outside();
    let moved = seen("after a move")?;
    shaper.renumber()?;
    let renumbered = seen("after a new lease")?;
    ensure!(first.1 == shaper.outside()[0] && moved == (first.0, shaper.outside()[1]), "{first:?} {moved:?}");
    ensure!(renumbered.0 != first.0, "{renumbered:?}");
    drop((shaper, site));
    Ok(())
}

#[test]
fn a_shaped_link_leaves_nothing_behind() -> Result<()> {
    let (site, shaper) = shaped(Shape::default())?;
    let device = shaper.outer().to_owned();
    let is_there = || std::path::Path::new(&format!("/sys/class/net/{device}")).exists();
    ensure!(is_there());
    let name = site.name().to_owned();
    drop((shaper, site));
    ensure!(!is_there() && !leftovers().iter().any(|line| line.contains(&name)));
    Ok(())
}
