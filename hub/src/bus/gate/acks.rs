//! Whether a client's acknowledgements are in order, which the router demands by disconnecting: pure.
//!
//! The gate closes such a client itself. A client that the router has dropped must not be spoken of to the router again: its slot may
//! be another's by then, or none's, which panics the router.

use std::collections::VecDeque;

use rumqttd::protocol::Packet;

/// Messages of QoS 2 that a client may leave unreleased.
const MAX_UNRELEASED: usize = 100;

/// The acknowledgements owed in both directions.
#[derive(Debug, Default)]
pub struct Acks {
    /// Sent to the client with QoS above 0.
    unacked: VecDeque<u16>,
    /// Released to the client, not completed by it.
    releasing: VecDeque<u16>,
    /// Published by the client with QoS 2, not released by it.
    received: VecDeque<u16>,
}

impl Acks {
    /// Notes a PUBLISH to the client.
    pub fn published(&mut self, qos: u8, pkid: u16) {
        if qos > 0 {
            self.unacked.push_back(pkid);
        }
    }

    /// Notes a PUBREL to the client.
    pub fn released(&mut self, pkid: u16) {
        self.releasing.push_back(pkid);
    }

    /// Judges a packet of the client; false for what the router would disconnect for.
    pub fn accept(&mut self, packet: &Packet, qos: u8, pkid: u16) -> bool {
        match packet {
            Packet::Publish(..) if qos == 2 => {
                self.received.push_back(pkid);
                self.received.len() <= MAX_UNRELEASED
            }
            Packet::PubAck(ack, _) => self.unacked.pop_front() == Some(ack.pkid),
            Packet::PubRec(ack, _) => self.unacked.pop_front() == Some(ack.pkid),
            Packet::PubRel(ack, _) => self.received.pop_front() == Some(ack.pkid),
            Packet::PubComp(ack, _) => self.releasing.pop_front() == Some(ack.pkid),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttd::protocol::{PubAck, PubAckReason, PubRel, PubRelReason, Publish};

    fn ack(pkid: u16) -> Packet {
        Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None)
    }

    #[test]
    fn only_acknowledgements_of_the_oldest_message_pass() {
        let mut acks = Acks::default();
        assert!(!acks.accept(&ack(1), 0, 0), "of nothing");
        for pkid in [1, 2, 3] {
            acks.published(1, pkid);
        }
        assert!(acks.accept(&ack(1), 0, 0));
        assert!(!acks.accept(&ack(3), 0, 0), "out of order");
    }

    #[test]
    fn a_release_needs_its_publish() {
        let mut acks = Acks::default();
        let release = Packet::PubRel(PubRel { pkid: 9, reason: PubRelReason::Success }, None);
        assert!(acks.accept(&Packet::Publish(Publish::default(), None), 2, 9));
        assert!(acks.accept(&release, 0, 0));
        assert!(!acks.accept(&release, 0, 0));
    }
}
