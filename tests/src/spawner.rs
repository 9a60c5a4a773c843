//! Starts every child from one thread that never ends.
//!
//! Children ask the kernel to be killed with their parent (`setpriv --pdeathsig`), and to the kernel the parent is the
//! *thread* that started them: a test's thread ends with the test, a runtime's when it idles.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use anyhow::{Context, Result};

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Starts a command on the spawner thread.
///
/// # Errors
/// When the program can't be started.
pub fn spawn(command: Command) -> Result<Child> {
    let (reply, answer) = mpsc::sync_channel(1);
    orders().send(Order { command, reply }).ok().context("the spawner thread has ended")?;
    Ok(answer.recv().context("the spawner thread has ended")??)
}

fn orders() -> &'static Sender<Order> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let (send, receive) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for Order { mut command, reply } in receive {
                // The one who asked may be gone; its child then ends by being dropped unseen, so end it here.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(command.spawn()) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        send
    })
}
