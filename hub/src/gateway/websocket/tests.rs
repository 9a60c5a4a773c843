use super::{FromClient, FromServer, MAX_HELD};

const MASK: [u8; 4] = [0x11, 0xf2, 0x33, 0x04];

/// One frame as its sender spells it.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(bit | length as u8),
        length @ 126..=65535 => {
            out.push(bit | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    let mask_bytes = mask.unwrap_or_default();
    out.extend(mask.iter().flatten());
    out.extend(payload.iter().zip(mask_bytes.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(MASK))
}

fn from_server(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, None)
}

/// Cuts drawn from a seed.
fn pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut rest, mut found) = (bytes, Vec::new());
    while !rest.is_empty() {
        let most = [1, 3, 20, 5000][random.usize(..4)];
        let (piece, after) = rest.split_at(random.usize(1..=most).min(rest.len()));
        found.push(piece);
        rest = after;
    }
    found
}

fn upward<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut tracker, mut out, mut pings) = (FromClient::default(), Vec::new(), Vec::new());
    pieces.into_iter().for_each(|piece| pings.extend(tracker.take(piece, &mut out)));
    tracker.end(&mut out);
    (out, pings)
}

fn downward<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut tracker, mut out) = (FromServer::default(), Vec::new());
    pieces.into_iter().for_each(|piece| tracker.take(piece, &mut out));
    tracker.end(&mut out);
    out
}

/// What a client may send, with the protocol kept and broken; second, what of it goes on.
fn session() -> (Vec<u8>, Vec<u8>) {
    let large = vec![7; 70_000];
    let frames: [(bool, Vec<u8>); 11] = [
        (true, from_client(0x82, b"\x00stdin")),
        (false, from_client(0x89, b"")),
        (true, from_client(0x02, &large)),
        (false, from_client(0x89, &[5; 125])),
        (true, from_client(0x80, b"")),
        (true, from_client(0x8a, b"a pong")),
        (true, from_client(0x89, &[5; 126])),
        (true, from_server(0x89, b"not masked")),
        (true, from_client(0xc9, b"with an extension")),
        (true, from_client(0x88, b"\x03\xe8")),
        (false, from_client(0x89, b"last")),
    ];
    let all = frames.iter().flat_map(|(_, frame)| frame.clone()).collect();
    let passing = frames.into_iter().filter(|(passes, _)| *passes).flat_map(|(_, frame)| frame).collect();
    (all, passing)
}

#[test]
fn pings_are_taken_out_and_everything_else_passes_byte_for_byte_however_it_is_split() {
    let (all, passing) = session();
    let pings = vec![vec![], vec![5; 125], b"last".to_vec()];
    assert_eq!(upward(all.chunks(1)), (passing.clone(), pings.clone()));
    for seed in 0..500 {
        let (out, found) = upward(pieces(&all, seed));
        assert!(out == passing, "seed {seed}");
        assert!(found.iter().all(|ping| pings.contains(ping)) && found.last() == pings.last(), "seed {seed}: {found:?}");
    }
    assert_eq!(upward([all.as_slice()]), (passing, vec![b"last".to_vec()]), "one answer for all that came together");
}

#[test]
fn a_session_cut_anywhere_loses_nothing_but_whole_pings() {
    let (all, _) = session();
    let small: Vec<u8> = [from_client(0x82, b"abc"), from_client(0x89, b"ping"), from_client(0x82, b"def")].concat();
    for end in 0..small.len() {
        let (out, pings) = upward([&small[..end]]);
        let taken: usize = pings.iter().map(|ping| ping.len() + 6).sum();
        assert_eq!(out.len() + taken, end, "cut at {end}");
    }
    let down: Vec<u8> = [from_server(0x82, b"abc"), from_server(0x82, &vec![1; 200_000])].concat();
    for end in [0, 1, 4, 5, 6, 10, 15, 16, 150_000] {
        assert_eq!(downward([&down[..end]]), down[..end], "cut at {end}");
    }
    assert!(downward([all.as_slice()]) == all, "what no server says passes as well");
}

#[test]
fn any_bytes_pass_in_both_directions_however_they_are_split() {
    let mut random = fastrand::Rng::with_seed(11);
    for seed in 0..2_000 {
        let length = random.usize(..400);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        assert_eq!(downward(pieces(&bytes, seed)), bytes, "seed {seed}");
        assert_eq!(upward(pieces(&bytes, seed)).0, upward([bytes.as_slice()]).0, "seed {seed}");
    }
}

#[test]
fn a_pong_stands_between_two_frames_and_never_in_one() {
    let frames =
        [from_server(0x82, &[1; 300]), from_server(0x82, &vec![2; 140_000]), from_server(0x81, b"x"), from_server(0x82, &[3; 100_000])];
    let all = frames.concat();
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut tracker, mut out, mut sent) = (FromServer::default(), Vec::new(), 0);
        for piece in pieces(&all, seed) {
            if random.u8(..) < 30 {
                tracker.pong(vec![9, sent], &mut out);
                sent = (sent + 1) % 100;
            }
            tracker.take(piece, &mut out);
        }
        let (mut rest, mut found) = (out.as_slice(), 0);
        for frame in &frames {
            while let Some(after) = rest.strip_prefix(&[0x8a, 2, 9]) {
                (rest, found) = (&after[1..], found + 1);
            }
            rest = rest.strip_prefix(frame.as_slice()).unwrap_or_else(|| panic!("seed {seed}: a frame was broken"));
        }
        while let Some(after) = rest.strip_prefix(&[0x8a, 2, 9]) {
            (rest, found) = (&after[1..], found + 1);
        }
        assert!(rest.is_empty() && (found > 0) == (sent > 0), "seed {seed}");
    }
}

#[test]
fn a_cut_in_the_middle_of_a_frame_keeps_no_pong_waiting_unless_the_frame_is_large() {
    let answered = |size: usize| {
        let (mut tracker, mut out) = (FromServer::default(), Vec::new());
        tracker.take(&from_server(0x82, &vec![1; size])[..100], &mut out);
        out.clear();
        tracker.pong(b"!".to_vec(), &mut out);
        out
    };
    assert_eq!(answered(MAX_HELD as usize), [0x8a, 1, b'!']);
    assert_eq!(answered(MAX_HELD as usize + 1), [0_u8; 0]);
}

#[test]
fn nothing_follows_a_close() {
    let (mut tracker, mut out) = (FromServer::default(), Vec::new());
    let close = from_server(0x88, b"\x03\xe8");
    tracker.take(&close, &mut out);
    tracker.pong(b"late".to_vec(), &mut out);
    assert_eq!(out, close);
}

#[test]
fn a_frame_of_any_announced_length_is_neither_held_nor_allocated() {
    for length in [u64::MAX, 1 << 63, 1 << 40] {
        let head = [&[0x82, 127][..], &length.to_be_bytes()].concat();
        let (mut tracker, mut out) = (FromServer::default(), Vec::new());
        tracker.take(&head, &mut out);
        tracker.take(&[1; 1000], &mut out);
        assert_eq!((out.len(), tracker.held.capacity()), (1010, 0));
        let masked = [&[0x82, 0xff][..], &length.to_be_bytes(), &MASK, &[1; 1000]].concat();
        assert_eq!(upward([masked.as_slice()]), (masked, vec![]));
    }
}
