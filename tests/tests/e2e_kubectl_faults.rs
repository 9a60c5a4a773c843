//! kubectl into a member over a link that breaks in every way it can: no byte is lost and none comes twice, and without resume none of it holds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Agent, Hub, Kubectl, Member, Process, Scratch, Shape, Shaper};

const SOON: Duration = Duration::from_secs(60);
/// Longest that a link may take to be noticed as dead and to come back: two and a half heartbeats, and a pause between attempts.
const BACK_WITHIN: Duration = Duration::from_secs(150);
const CUT: Duration = Duration::from_secs(120);

/// Lines that a shell and a log say, 100 a second or so.
const LINES: usize = 1_500;
/// Lines of the file that a port-forward carries, and its bytes: far more than all buffers on the way hold.
const FILE_LINES: usize = 3_000_000;
const FILE_BYTES: u64 = 22_888_896;

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: faults}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: docker.io/local/busybox:1
      imagePullPolicy: Never
      command: [sh, -c, "mkdir /tmp/www && seq 1 3000000 > /tmp/www/numbers && exec httpd -f -p 8080 -h /tmp/www"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"#;

/// A pod that says numbers and ends.
fn counter(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: faults}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: counter
      image: docker.io/local/busybox:1
      imagePullPolicy: Never
      command: [sh, -c, "{COUNT}"]
"#
    )
}

const COUNT: &str = "i=0; while [ $i -lt 1500 ]; do echo line-$i; i=$((i+1)); usleep 10000; done; exit 7";

/// A member with a node, a hub, and an agent that reaches it over a shaped link only.
struct World {
    // Before what they stand on: fields are dropped in this order.
    agent: Agent,
    hub: Hub,
    shaper: Shaper,
    member: Member,
    kubectl: Kubectl,
    scratch: Scratch,
}

impl World {
    async fn start(name: &str, further: &[&str]) -> Result<World> {
        let member = Member::builder(name).with_node().start().await?;
        let shaper = Shaper::attach(member.site(), Shape { delay: Duration::from_millis(10), ..Shape::default() }, 5)?;
        let hub = Hub::start_at(shaper.hub_address(), &[&member], further)?;
        let mut agent = Agent::prepare_direct(&hub, &member)?;
        agent.run(&[])?;
        let ready = hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["nodeStatistics"].is_object());
        ready.map_err(|error| error.context(agent.log()))?;
        let preset = format!("{}/../deploy/rbac/agent-proxy.yaml", env!("CARGO_MANIFEST_DIR"));
        member.kubectl().run(["apply", "-f", &preset])?;
        let kubectl = hub.kubectl_into(&member)?;
        let scratch = Scratch::create("kubectl")?;
        let world = World { agent, hub, shaper, member, kubectl, scratch };
        world.kubectl.run(["create", "namespace", "faults"]).map_err(|error| error.context(world.logs()))?;
        world.kubectl.wait_until(["serviceaccount", "-n", "faults", "default"], SOON, |_| true)?;
        world.kubectl.apply(WEB).map_err(|error| error.context(world.logs()))?;
        world.kubectl.run(["wait", "-n", "faults", "pod/web", "--for=condition=Ready", "--timeout=60s"])?;
        Ok(world)
    }

    fn logs(&self) -> String {
        format!("HUB\n{}\nAGENT\n{}\n{}", self.hub.log(), self.agent.log(), self.shaper.counts())
    }
}

/// One of each kind of stream, under way.
struct Streams<'a> {
    world: &'a World,
    name: String,
    websocket: Process,
    spdy: Process,
    logs: Process,
    watch: Process,
    forward: Process,
    download: TcpStream,
}

impl<'a> Streams<'a> {
    /// Starts them all, and waits until each has carried something.
    fn start(world: &'a World, name: &str) -> Result<Streams<'a>> {
        let folder = world.scratch.path();
        world.member.kubectl().apply(&counter(name))?;
        let running = |pod: &serde_json::Value| pod["status"]["phase"] == "Running";
        world.member.kubectl().wait_until(["pod", "-n", "faults", name], SOON, running)?;
        let exec = ["exec", "-n", "faults", "web", "--", "sh", "-c", COUNT];
        let launch = |label: &str, args: &[&str]| world.kubectl.launch(&format!("{name}-{label}"), args, folder);
        let watched = format!("/api/v1/namespaces/faults/configmaps?watch=true&labelSelector=stream%3D{name}");
        let mut forward = launch("forward", &["port-forward", "-n", "faults", "web", ":8080"]).start()?;
        let mut streams = Streams {
            world,
            name: name.to_owned(),
            websocket: launch("websocket", &exec).start()?,
            spdy: launch("spdy", &exec).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").start()?,
            logs: launch("logs", &["logs", "-n", "faults", "-f", name]).start()?,
            // Not `get --watch`, which begins another watch by itself when one breaks.
            watch: launch("watch", &["get", "--raw", &watched]).start()?,
            download: download(&mut forward)?,
            forward,
        };
        streams.touch(0)?;
        for process in [&mut streams.websocket, &mut streams.spdy, &mut streams.logs] {
            process.wait_for_line("line-100", SOON)?;
        }
        streams.sees(1, SOON)?;
        Ok(streams)
    }

    /// Waits until the watch has seen so many objects; the names of all that it saw.
    fn sees(&mut self, count: usize, within: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + within;
        loop {
            let log = self.watch.log();
            let events = log.split_inclusive('\n').filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let names: Vec<String> = events.filter_map(|event| Some(event["object"]["metadata"]["name"].as_str()?.to_owned())).collect();
            if names.len() >= count {
                return Ok(names);
            }
            ensure!(Instant::now() < deadline && self.watch.is_running(), "the watch saw {names:?}: {}", self.watch.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes the watched object of this number, on the member itself.
    fn touch(&self, number: usize) -> Result<()> {
        let Streams { name, world, .. } = self;
        let object =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}-{number}, namespace: faults, labels: {{stream: {name}}}}}");
        world.member.kubectl().apply(&object).map(drop)
    }

    /// Reads each to its end: everything is there, once, in order.
    fn are_whole(mut self) -> Result<()> {
        let mut body = Vec::new();
        self.download.read_to_end(&mut body).context("the download")?;
        let body = String::from_utf8(body)?;
        let (_, body) = body.split_once("\r\n\r\n").context("no answer")?;
        ensure!(numbers(body.lines(), "")? == (1..=FILE_LINES).collect::<Vec<_>>(), "the download is not what was sent");
        for (label, process, code) in [("websocket", &mut self.websocket, 7), ("spdy", &mut self.spdy, 7), ("logs", &mut self.logs, 0)] {
            let status = process.wait(BACK_WITHIN)?;
            let said = process.log();
            let lines = said.lines().filter(|line| line.starts_with("line-"));
            let found = numbers(lines, "line-")?;
            ensure!(found == (0..LINES).collect::<Vec<_>>(), "{label}: {} lines of {LINES}: {}", found.len(), process.log_tail());
            ensure!(status.code() == Some(code), "{label} ended with {status}: {}", process.log_tail());
        }
        let names = self.sees(5, SOON)?;
        let expected: Vec<String> = (0..5).map(|number| format!("{}-{number}", self.name)).collect();
        ensure!(names == expected, "the watch saw {names:?}");
        ensure!(self.forward.is_running(), "port-forward has ended: {}", self.forward.log_tail());
        Ok(())
    }
}

/// Begins to load the file through a port-forward, and leaves it there: what waits is in the streams.
fn download(forward: &mut Process) -> Result<TcpStream> {
    let said = forward.wait_for_line("Forwarding from 127.0.0.1:", SOON)?;
    let port: u16 = said.split_whitespace().next().and_then(|port| port.parse().ok()).with_context(|| format!("no port in {said:?}"))?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    // So that it is the streams where the file waits.
    socket.set_recv_buffer_size(32 << 10)?;
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(BACK_WITHIN))?;
    socket.write_all(b"GET /numbers HTTP/1.0\r\n\r\n")?;
    let mut first = [0; 1];
    socket.peek(&mut first)?;
    Ok(socket)
}

fn numbers<'a>(lines: impl Iterator<Item = &'a str>, prefix: &str) -> Result<Vec<usize>> {
    lines.map(|line| line.strip_prefix(prefix).and_then(|number| number.parse().ok()).with_context(|| format!("{line:?}"))).collect()
}

/// What happens to a link.
type Fault = (&'static str, fn(&World) -> Result<()>);

const FAULTS: [Fault; 5] = [
    ("reset", |world| {
        world.shaper.rebind();
        Ok(())
    }),
    ("forgotten", |world| {
        world.shaper.rebind_silently();
        Ok(())
    }),
    ("moved", |world| {
        world.shaper.move_outside();
        Ok(())
    }),
    ("renumbered", |world| world.shaper.renumber()),
    ("cut", |world| {
        world.shaper.cut();
        // kubectl gives a shell up that hears nothing for 61 s.
        thread::sleep(CUT);
        // Whatever lies between has forgotten the connection meanwhile.
        world.shaper.rebind();
        world.shaper.heal();
        Ok(())
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_survives_every_fault_of_the_link() -> Result<()> {
    let world = World::start("streams", &[]).await?;
    for (name, fault) in FAULTS {
        let began = Instant::now();
        let start = world.shaper.counts();
        let mut streams = Streams::start(&world, name)?;
        let before = world.shaper.counts();
        let carried = before.up.delivered_bytes - start.up.delivered_bytes;
        ensure!(carried + 2_000_000 < FILE_BYTES, "{carried} bytes were carried before the fault: it has nothing left to break");
        fault(&world)?;
        let healed = Instant::now();
        for number in 1..5 {
            streams.touch(number)?;
        }
        streams.sees(2, BACK_WITHIN).map_err(|error| error.context(format!("{name}: {}", world.logs())))?;
        let back = healed.elapsed();
        streams.are_whole().map_err(|error| error.context(format!("{name}: {}", world.logs())))?;
        let after = world.shaper.counts();
        ensure!(after.connections > before.connections, "{name}: the agent did not connect again, so nothing was resumed: {after}");
        eprintln!(
            "{name:>12}: whole; the first byte {:.1} s after it was healed, {} connections more; {:.0} s in all",
            back.as_secs_f32(),
            after.connections - before.connections,
            began.elapsed().as_secs_f32()
        );
    }
    eprintln!("{}", world.shaper.counts());
    let no_streams = Instant::now() + SOON;
    while open_connections(&world)? > 0 {
        ensure!(Instant::now() < no_streams, "connections to the API server are left: {}", world.logs());
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Connections of the proxy that the member's API server still has for streams, by its own count.
fn open_connections(world: &World) -> Result<usize> {
    let metrics = world.member.kubectl().run(["get", "--raw", "/metrics"])?;
    let of_streams = |line: &&str| {
        line.starts_with("apiserver_longrunning_requests{") && (line.contains("subresource=\"exec\"") || line.contains("verb=\"CONNECT\""))
    };
    Ok(metrics.lines().filter(of_streams).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_resume_no_stream_survives_a_reset() -> Result<()> {
    let world = World::start("no-resume", &["--stream-grace", "0s"]).await?;
    let mut streams = Streams::start(&world, "reset")?;
    world.shaper.rebind();
    let processes =
        [("websocket", &mut streams.websocket), ("spdy", &mut streams.spdy), ("logs", &mut streams.logs), ("watch", &mut streams.watch)];
    for (label, process) in processes {
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
    let mut world = World::start("killed", &[]).await?;
    for who in ["agent", "hub"] {
        let mut exec = exec_under_way(&world, who)?;
        ensure!(open_connections(&world)? > 0, "the API server's count says nothing");
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
        let gone = Instant::now() + SOON;
        while open_connections(&world)? > 0 {
            ensure!(Instant::now() < gone, "{who}: the API server still has the stream: {}", world.logs());
            thread::sleep(Duration::from_millis(200));
        }
        let again = ["exec", "-n", "faults", "web", "--", "echo", "again"];
        let deadline = Instant::now() + SOON;
        while world.kubectl.output(&again, "")?.stdout != b"again\n" {
            ensure!(Instant::now() < deadline, "{who}: no exec any more: {}", world.logs());
            thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(())
}

fn exec_under_way(world: &World, name: &str) -> Result<Process> {
    let folder: &Path = world.scratch.path();
    let endless = "i=0; while true; do echo line-$i; i=$((i+1)); usleep 10000; done";
    let mut exec = world.kubectl.launch(name, &["exec", "-n", "faults", "web", "--", "sh", "-c", endless], folder).start()?;
    exec.wait_for_line("line-100", SOON)?;
    Ok(exec)
}

fn last_line(log: &str) -> String {
    log.lines().last().unwrap_or_default().to_owned()
}
