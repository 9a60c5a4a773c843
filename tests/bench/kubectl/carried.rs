//! How much a way carries: long lists, the log of a container, and files copied out of one and into it, by real kubectl.
//!
//! The ways take turns in each round, so that whatever else the machine does falls on all of them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Request;
use serde_json::json;
use tests::{Member, log_lines};

use super::Way;
use crate::{figure, percentile};

/// Bytes of a long list, and what it is made of: what is in it, how many objects, and what they hold.
const LONG: usize = 16_000_000;
const LISTS: [(&str, usize, Content); 3] = [("few", 16, Content::Text), ("many", 4_000, Content::Text), ("noise", 16, Content::Noise)];
/// Bytes of the log and of the file: long enough on any way that kubectl's own start weighs little.
const LARGE: u64 = 32_000_000;
const SOON: Duration = Duration::from_secs(120);

/// Lines of 100 bytes; the kubelet keeps all of them as one file.
const POD: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: carried}
---
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: carried}
spec:
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
    - name: box
      image: docker.io/local/busybox:1
      imagePullPolicy: Never
      command:
        - sh
        - -c
        - |
          head -c 32000000 /dev/urandom > /tmp/large
          head -c 1280000 /dev/urandom | od -An -v -tx4 -w4 |
            awk '{ printf "2026-11-29T10:00:%02dZ INFO request served method=GET path=/cart/%03d status=200 ms=%06d id=%s\n", NR % 60, NR % 997, NR * 7 % 9973, $1 }'
          touch /tmp/written
          sleep 86400
      readinessProbe: {exec: {command: [test, -e, /tmp/written]}, periodSeconds: 1}
"#;

/// What objects of a list hold.
#[derive(Clone, Copy)]
enum Content {
    /// Lines as programs log them.
    Text,
    /// Nothing that could be made much smaller.
    Noise,
}

/// Something that a way carries.
#[derive(Clone, Copy)]
enum Verb {
    /// Of one namespace.
    List(&'static str),
    Logs,
    CopyOut,
    CopyIn,
}

/// What is measured, how often, and what it is called.
const VERBS: [(Verb, usize, &str); 6] = [
    (Verb::List("few"), 25, "a list of 16 MB in 16 objects"),
    (Verb::List("many"), 25, "a list of 16 MB in 4,000 objects"),
    (Verb::List("noise"), 25, "a list of 16 MB of noise"),
    (Verb::Logs, 5, "logs"),
    (Verb::CopyOut, 15, "cp out of a container"),
    (Verb::CopyIn, 15, "cp into a container"),
];

pub async fn measure(member: &Member, ways: &[Way], folder: &Path) -> Result<()> {
    prepare(member, &ways[0], folder).await?;
    for (verb, rounds, what) in VERBS {
        let mut rates = vec![Vec::new(); ways.len()];
        for round in 0..rounds {
            // Another way is the first of each round: what one leaves behind, the next one has to bear.
            for place in 0..ways.len() {
                let way = (round + place) % ways.len();
                rates[way].push(rate(verb, &ways[way], folder).await?);
            }
        }
        tell(what, ways, &rates);
    }
    Ok(())
}

/// MB that a way carries in a second.
async fn rate(verb: Verb, way: &Way, folder: &Path) -> Result<f64> {
    let begun = Instant::now();
    let bytes = match verb {
        Verb::List(namespace) => list(way, namespace).await?,
        Verb::Logs => logs(way, folder)?,
        Verb::CopyOut => copy_out(way, folder)?,
        Verb::CopyIn => copy_in(way, folder)?,
    };
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

async fn prepare(member: &Member, direct: &Way, folder: &Path) -> Result<()> {
    let member = member.kubectl();
    member.apply(POD)?;
    let mut rng = fastrand::Rng::with_seed(7);
    for (namespace, objects, content) in LISTS {
        member.run(["create", "namespace", namespace])?;
        for number in 0..objects {
            let data = json!({ "data": content.of(LONG / objects, &mut rng) });
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("c{number}") }, "data": data });
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            direct.client.request_text(Request::post(path).body(object.to_string().into_bytes())?).await?;
        }
    }
    member.wait_until(["pod", "-n", "carried", "box"], SOON, |pod| pod["status"]["containerStatuses"][0]["ready"] == true)?;
    std::io::copy(&mut std::io::Read::take(File::open("/dev/urandom")?, LARGE), &mut File::create(folder.join("in"))?)?;
    Ok(())
}

/// The share of direct is the median of what each round gave: the two runs of a round stand beside each other.
fn tell(what: &str, ways: &[Way], rates: &[Vec<f64>]) {
    for (way, rates) in ways.iter().zip(rates) {
        figure(&format!("kubectl: {what} {}, p50", way.name), percentile(&mut rates.clone(), 0.5), "MB/s", "-", "-");
    }
    if let [direct, .., bus] = rates {
        let mut shares: Vec<f64> = bus.iter().zip(direct).map(|(bus, direct)| 100.0 * bus / direct).collect();
        figure(&format!("kubectl: {what}, over the bus / direct"), percentile(&mut shares, 0.5), "%", "69", "80");
        for (name, share) in [("lower", 0.25), ("upper", 0.75)] {
            figure(&format!("kubectl: {what}, {name} quartile of it"), percentile(&mut shares, share), "%", "-", "-");
        }
    }
}

impl Content {
    /// About so many bytes.
    fn of(self, bytes: usize, rng: &mut fastrand::Rng) -> String {
        match self {
            Content::Text => log_lines(bytes, rng),
            Content::Noise => std::iter::repeat_with(|| rng.alphanumeric()).take(bytes).collect(),
        }
    }
}

async fn list(way: &Way, namespace: &str) -> Result<u64> {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let list = way.client.request_text(Request::get(path).body(Vec::new())?).await?;
    ensure!(list.len() >= LONG, "a list of {} bytes", list.len());
    Ok(list.len() as u64)
}

fn logs(way: &Way, folder: &Path) -> Result<u64> {
    let path = folder.join("log");
    kubectl(way, &["logs", "box"], File::create(&path)?.into())?;
    whole(&path)
}

fn copy_out(way: &Way, folder: &Path) -> Result<u64> {
    let path = folder.join("out");
    kubectl(way, &["cp", "box:/tmp/large", &path.display().to_string()], Stdio::null())?;
    whole(&path)
}

fn copy_in(way: &Way, folder: &Path) -> Result<u64> {
    let path = folder.join("in");
    kubectl(way, &["cp", &path.display().to_string(), "box:/tmp/copied"], Stdio::null())?;
    whole(&path)
}

fn kubectl(way: &Way, args: &[&str], output: Stdio) -> Result<()> {
    let mut command = Command::new(way.kubectl.program());
    command
        .args(["-n", "carried"])
        .args(args)
        .env("KUBECONFIG", &way.kubeconfig)
        .env("KUBECACHEDIR", way.kubeconfig.with_extension("cache"));
    let status = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "kubectl {} {}: {status}", args.join(" "), way.name);
    Ok(())
}

fn whole(path: &Path) -> Result<u64> {
    let bytes = std::fs::metadata(path)?.len();
    ensure!(bytes == LARGE, "{} has {bytes} bytes", path.display());
    Ok(bytes)
}
