//! Reads sealed frames for the model: the null cipher leaves bodies readable.

use bus_schema::frame::{self, TAG_LEN};
use bus_schema::message::{Confirm, Content, Delta, Hello, Kind, Report, StatusAck, Want, Welcome};

/// A frame opened without its key.
#[derive(Debug)]
pub enum Inside {
    Hello(Hello),
    Welcome(Welcome),
    Delta(Delta),
    Want(Want),
    Content(Content),
    Confirm(Confirm),
    Report(Report),
    StatusAck(StatusAck),
    Other(Kind),
}

/// Counter and body of a frame of our own making; `None` only for a damaged one.
pub fn inspect(bytes: &[u8]) -> Option<(u64, Inside)> {
    let (header, at) = frame::peek(bytes).ok()?;
    let body = &bytes[at..bytes.len() - TAG_LEN];
    let kind = header.kind;
    let inside = match kind {
        Kind::Hello => Inside::Hello(frame::body(kind, body).ok()?),
        Kind::Welcome => Inside::Welcome(frame::body(kind, body).ok()?),
        Kind::Delta => Inside::Delta(frame::body(kind, body).ok()?),
        Kind::Want => Inside::Want(frame::body(kind, body).ok()?),
        Kind::Content => Inside::Content(frame::body(kind, body).ok()?),
        Kind::Confirm => Inside::Confirm(frame::body(kind, body).ok()?),
        Kind::Report => Inside::Report(frame::body(kind, body).ok()?),
        Kind::StatusAck => Inside::StatusAck(frame::body(kind, body).ok()?),
        other => Inside::Other(other),
    };
    Some((header.counter, inside))
}

impl Inside {
    /// One line for a trace.
    pub fn line(&self) -> String {
        match self {
            Inside::Hello(hello) => format!("Hello listed {} status {:x} order {}", hex(&hello.listed), hello.status, hello.order),
            Inside::Welcome(welcome) => {
                format!(
                    "Welcome desired {} rv {} status {:x} same {} closed {:?}",
                    hex(&welcome.desired),
                    welcome.resource_version,
                    welcome.status,
                    welcome.same_status,
                    welcome.closed
                )
            }
            Inside::Delta(delta) => format!(
                "Delta base {:x} target {} rv {} list {} objects {} recover {}",
                delta.base >> 32,
                hex(&delta.target),
                delta.resource_version,
                delta.list.len(),
                delta.objects.len(),
                delta.recover
            ),
            Inside::Want(want) => format!(
                "Want {:?}",
                want.items.iter().map(|item| (hex(&item.hash), item.list, item.offset, item.window)).collect::<Vec<_>>()
            ),
            Inside::Content(content) => format!(
                "Content {:?}",
                content
                    .parts
                    .iter()
                    .map(|part| (hex(&part.hash), part.list, part.mode, part.offset, part.data.len(), part.total, part.missing))
                    .collect::<Vec<_>>()
            ),
            Inside::Confirm(confirm) => format!("Confirm {}", hex(&confirm.list)),
            Inside::Report(report) => format!(
                "Report listed {:x?} held {} whole {} -> {:x} rows {:?}",
                report.listed.map(|listed| listed >> 32),
                report.held,
                report.whole,
                report.target >> 32,
                report.entries.iter().map(|entry| (entry.index, entry.state, entry.gone)).collect::<Vec<_>>()
            ),
            Inside::StatusAck(ack) => format!("StatusAck {:x}", ack.root >> 32),
            Inside::Other(kind) => format!("{kind:?}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
