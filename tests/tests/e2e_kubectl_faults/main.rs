//! kubectl into a member over a road that breaks in every way it can: no byte is lost and none comes twice, and without resume none of it holds.

mod streams;
mod world;

use std::fmt::Write as _;
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::streams::Streams;
use self::world::{Between, World, member};

const SOON: Duration = Duration::from_secs(60);
/// Longest that a link may take to be noticed as dead and to come back, that a broken test ends.
const BACK_WITHIN: Duration = Duration::from_secs(150);
/// Longest from the road's healing to the first byte of each stream: twice what is promised, for machines that do other things.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
const CUT: Duration = Duration::from_secs(120);
/// How long the broker is away.
const AWAY: Duration = Duration::from_secs(3);

/// Lines that a shell and a log say, almost 100 a second, each with the machine's uptime.
const LINES: usize = 1_000;
const COUNT: &str = "i=0; while [ $i -lt 1000 ]; do read up rest < /proc/uptime; echo line-$i $up; i=$((i+1)); usleep 10000; done; exit 7";
/// Lines of the file that a port-forward carries, and its bytes: far more than all buffers on the way hold.
const FILE_LINES: usize = 300_000;
const FILE_BYTES: u64 = 25_088_895;
/// Bytes of it that two bytes on the road may stand for: most of it is noise.
const PACKED: u64 = 3;

/// What happens to a road. It is healed when this is over; the uptime since when nothing has come over what was there before.
type Fault = (&'static str, fn(&World<'_>) -> Result<f64>);

const FAULTS: [Fault; 6] = [
    ("TCP reset", |world| {
        world.shaper()?.reset();
        uptime()
    }),
    ("NAT rebound", |world| {
        world.shaper()?.rebind();
        uptime()
    }),
    ("NAT forgot", |world| {
        world.shaper()?.rebind_silently();
        uptime()
    }),
    ("NAT moved", |world| {
        world.shaper()?.move_outside();
        uptime()
    }),
    ("renumbered", |world| {
        world.shaper()?.renumber()?;
        uptime()
    }),
    ("cut of 120 s", |world| {
        world.shaper()?.cut();
        let broken = uptime()?;
        // kubectl gives a shell up that hears nothing for 61 s.
        thread::sleep(CUT);
        // Whatever lies between has forgotten the connection meanwhile.
        world.shaper()?.rebind();
        world.shaper()?.heal();
        Ok(broken)
    }),
];

const BROKER: Fault = ("broker anew", |world| {
    let Between::Broker(broker) = &world.between else { anyhow::bail!("no broker") };
    broker.stop();
    let broken = uptime()?;
    thread::sleep(AWAY);
    broker.start_again()?;
    Ok(broken)
});

/// Seconds that this machine has been up, in hundredths: the clock that containers see, too.
fn uptime() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    text.split_whitespace().next().and_then(|up| up.parse().ok()).with_context(|| format!("no uptime in {text:?}"))
}

/// Streams of every kind survive a fault; what there is to say of it.
fn survives(world: &World<'_>, (name, fault): Fault) -> Result<String> {
    let (start, begun) = (world.carried(), Instant::now());
    let mut streams = Streams::start(world, &name.replace(' ', "-").to_lowercase())?;
    let (carried, before) = ((world.carried() - start) * PACKED / 2, world.connects()?);
    ensure!(carried + 2_000_000 < FILE_BYTES, "{carried} bytes were carried before the fault: it has nothing left to break");
    let broken = fault(world)?;
    let (firsts, body) = streams.bring(broken, carried)?;
    let (lost, doubled) = streams.are_whole(body)?;
    let after = world.connects()?;
    ensure!(after > before, "the agent did not connect again, so nothing was resumed");
    let mut said = format!("{name:>12}: first byte");
    for (label, took) in &firsts {
        write!(said, " {label} {:.1} s,", took.as_secs_f32())?;
    }
    let slow = firsts.iter().find(|(_, took)| *took > FIRST_WITHIN);
    ensure!(slow.is_none(), "too late: {said}");
    write!(said, " CONNECTs {before} -> {after}, {lost} lines lost, {doubled} doubled; {:.0} s in all", begun.elapsed().as_secs_f32())?;
    Ok(said)
}

/// One fault after the other; then nothing is left of any stream.
fn all_survive(world: &World<'_>, faults: &[Fault]) -> Result<()> {
    for fault in faults {
        let said = survives(world, *fault).map_err(|error| error.context(format!("{}: {}", fault.0, world.logs())))?;
        eprintln!("{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_survives_every_fault_of_the_road() -> Result<()> {
    let member = member("streams").await?;
    let (cut, others) = FAULTS.split_last().context("faults")?;
    thread::scope(|scope| {
        // What waits for two minutes does so beside the others.
        let cut = scope.spawn(|| World::linked(&member, &[]).and_then(|world| all_survive(&world, &[*cut])));
        let linked = World::linked(&member, &[])?;
        all_survive(&linked, others)?;
        drop(linked);
        let brokered = World::brokered(&member)?;
        all_survive(&brokered, &[BROKER])?;
        cut.join().expect("no panic")?;
        brokered.none_is_left("at the end")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_resume_no_stream_survives_a_reset() -> Result<()> {
    let member = member("no-resume").await?;
    let world = World::linked(&member, &["--stream-grace", "0s"])?;
    let streams = Streams::start(&world, "reset")?;
    world.shaper()?.reset();
    all_break(streams)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_stays_away_for_longer_than_the_grace_period_ends_streams_cleanly_at_both_sides() -> Result<()> {
    let member = member("away").await?;
    let world = World::linked(&member, &["--stream-grace", "5s"])?;
    let streams = Streams::start(&world, "away")?;
    let mut exec = world.exec_under_way("endless")?;
    world.shaper()?.cut();
    world.shaper()?.rebind();
    all_break(streams)?;
    ensure!(!exec.wait(SOON)?.success(), "kubectl takes a part for the whole: {}", exec.log_tail());
    eprintln!("{:>12}: {}", "endless", last_line(&exec.log()));
    world.shaper()?.heal();
    world.none_is_left("after the grace period")?;
    world.is_back("after the grace period")
}

/// None of them is whole.
fn all_break(mut streams: Streams<'_>) -> Result<()> {
    let counting = streams.counting.iter_mut().map(|(label, process, _)| (*label, process));
    for (label, process) in counting.chain([("watch", &mut streams.watch)]) {
        let status = process.wait(BACK_WITHIN)?;
        let lines = process.log().lines().filter(|line| line.starts_with("line-")).count();
        ensure!(lines < LINES, "{label} is whole without resume");
        eprintln!("{label:>12}: {status}, {lines} lines");
    }
    let mut body = Vec::new();
    let read = streams.download.read_to_end(&mut body);
    ensure!(read.is_err() || (body.len() as u64) < FILE_BYTES, "the download is whole without resume");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hub_or_agent_ends_streams_cleanly_at_both_sides() -> Result<()> {
    let member = member("killed").await?;
    let mut world = World::linked(&member, &[])?;
    for who in ["agent", "hub"] {
        let mut exec = world.exec_under_way(who)?;
        ensure!(world.open_upgrades()? > 0, "the API server's count says nothing");
        match who {
            "agent" => world.agent.kill(),
            _ => world.hub.kill(),
        }
        let began = Instant::now();
        if who == "agent" {
            world.agent.run(&[])?;
        } else {
            world.hub.start_again()?;
        }
        let status = exec.wait(SOON)?;
        ensure!(!status.success(), "{who}: kubectl takes a part for the whole: {}", exec.log_tail());
        eprintln!("{who:>12}: kubectl ended with {status} after {:.1} s: {}", began.elapsed().as_secs_f32(), last_line(&exec.log()));
        world.none_is_left(who)?;
        world.is_back(who)?;
    }
    Ok(())
}

fn last_line(log: &str) -> String {
    log.lines().last().unwrap_or_default().to_owned()
}
