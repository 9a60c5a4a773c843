//! A hub, an agent of the member, and one bad road between them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Agent, HostileBroker, Hub, Kubectl, Member, Process, Scratch, Shape, Shaper};

use crate::{COUNT, SOON};

/// One way of the shaped link.
const DELAY: Duration = Duration::from_millis(10);

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
      command:
        - sh
        - -c
        - |
          mkdir /tmp/www
          head -c 17100000 /dev/urandom | base64 | awk '{ print NR, $1 }' > /tmp/www/numbers
          exec httpd -f -p 8080 -h /tmp/www
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"#;

/// What lies between the agent and the hub.
pub enum Between {
    Link(Shaper),
    Broker(HostileBroker),
}

/// A hub of its own, and an agent that reaches it over one road only. Several share a member.
pub struct World<'a> {
    // Before what they stand on: fields are dropped in this order.
    pub agent: Agent,
    pub hub: Hub,
    pub between: Between,
    pub member: &'a Member,
    pub kubectl: Kubectl,
    pub scratch: Scratch,
}

/// A member with a node, and the pod that all worlds look into.
pub async fn member(name: &str) -> Result<Member> {
    let member = Member::builder(name).with_node().start().await?;
    let preset = format!("{}/../deploy/rbac/agent-proxy.yaml", env!("CARGO_MANIFEST_DIR"));
    let kubectl = member.kubectl();
    kubectl.run(["apply", "-f", &preset])?;
    kubectl.run(["create", "namespace", "faults"])?;
    kubectl.wait_until(["serviceaccount", "-n", "faults", "default"], SOON, |_| true)?;
    kubectl.apply(WEB)?;
    kubectl.run(["wait", "-n", "faults", "pod/web", "--for=condition=Ready", "--timeout=60s"])?;
    Ok(member)
}

impl<'a> World<'a> {
    /// Over a shaped link.
    pub fn linked(member: &'a Member, further: &[&str]) -> Result<World<'a>> {
        let shaper = Shaper::attach(member.site(), Shape { delay: DELAY, ..Shape::default() }, 5)?;
        let hub = Hub::start_at(shaper.hub_address(), &[member], further)?;
        let agent = Agent::prepare_direct(&hub, member)?;
        World::of(member, hub, agent, Between::Link(shaper))
    }

    /// Over a broker, on loopback.
    pub fn brokered(member: &'a Member) -> Result<World<'a>> {
        let hub = Hub::start_with(&[member], &["--insecure-bus"])?;
        let broker = HostileBroker::start(hub.bus())?;
        let agent = Agent::prepare_beside(&hub, member, &broker.url())?;
        World::of(member, hub, agent, Between::Broker(broker))
    }

    fn of(member: &'a Member, hub: Hub, mut agent: Agent, between: Between) -> Result<World<'a>> {
        agent.run(&[])?;
        let ready = hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"][0]["status"]["nodeStatistics"].is_object());
        ready.map_err(|error| error.context(agent.log()))?;
        let kubectl = hub.kubectl_into(member)?;
        Ok(World { agent, hub, between, member, kubectl, scratch: Scratch::create("kubectl")? })
    }

    pub fn shaper(&self) -> Result<&Shaper> {
        match &self.between {
            Between::Link(shaper) => Ok(shaper),
            Between::Broker(_) => anyhow::bail!("a broker is no link"),
        }
    }

    /// Bytes that have come from the agent, as whatever lies between has counted them.
    pub fn carried(&self) -> u64 {
        match &self.between {
            Between::Link(shaper) => shaper.counts().up.delivered_bytes,
            Between::Broker(broker) => broker.passed(),
        }
    }

    /// CONNECTs of agents that the hub has taken, by its own word.
    pub fn connects(&self) -> Result<usize> {
        Ok(self.hub.process().context("the hub runs")?.log().matches("agent connected").count())
    }

    pub fn logs(&self) -> String {
        format!("HUB\n{}\nAGENT\n{}", self.hub.log(), self.agent.log())
    }

    /// A shell that counts without end.
    pub fn exec_under_way(&self, name: &str) -> Result<Process> {
        let folder: &Path = self.scratch.path();
        let endless = COUNT.replace("-lt 1000", "-ge 0");
        let mut exec = self.kubectl.launch(name, &["exec", "-n", "faults", "web", "--", "sh", "-c", &endless], folder).start()?;
        exec.wait_for_line("line-100 ", SOON)?;
        Ok(exec)
    }

    /// Execs and port-forwards that the member's API server still serves, by its own count.
    pub fn open_upgrades(&self) -> Result<usize> {
        let metrics = self.member.kubectl().run(["get", "--raw", "/metrics"])?;
        let of_streams = |line: &&str| {
            line.starts_with("apiserver_longrunning_requests{")
                && (line.contains("subresource=\"exec\"") || line.contains("verb=\"CONNECT\""))
        };
        Ok(metrics.lines().filter(of_streams).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum())
    }

    /// Waits until the API server serves none of them any more.
    pub fn none_is_left(&self, when: &str) -> Result<()> {
        let gone = Instant::now() + SOON;
        while self.open_upgrades()? > 0 {
            ensure!(Instant::now() < gone, "{when}: the API server still serves streams: {}", self.logs());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Waits until an exec goes through again.
    pub fn is_back(&self, when: &str) -> Result<()> {
        let again = ["exec", "-n", "faults", "web", "--", "echo", "again"];
        let deadline = Instant::now() + SOON;
        while self.kubectl.output(&again, "")?.stdout != b"again\n" {
            ensure!(Instant::now() < deadline, "{when}: no exec any more: {}", self.logs());
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }
}
