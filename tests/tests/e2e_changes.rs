//! Every kind of change arrives on two real members, one of which runs the pods; nothing of ours stays behind, nothing else is touched.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Agent, App, Kubectl, KubectlVersion, Member, Road, Watch, condition};

const SOON: Duration = Duration::from_secs(40);
const PODS: Duration = Duration::from_secs(120);

/// Two members, their hub, and the eyes on both.
struct Fleet {
    road: Road,
    second: Member,
    _agent: Agent,
}

impl Fleet {
    async fn start() -> Result<Fleet> {
        let (first, second) = (Member::builder("shop-node").with_node().start(), Member::start("shop-plain"));
        let (first, second) = tokio::try_join!(first, second)?;
        let road = Road::between(first, &[&second])?;
        let agent = Agent::start(&road.hub, &second)?;
        road.hub.kubectl().wait_until(["mcls", "-A"], SOON, |found| found["items"].as_array().is_some_and(|items| items.len() == 2))?;
        Ok(Fleet { road, second, _agent: agent })
    }

    fn members(&self) -> [&Kubectl; 2] {
        [self.road.member.kubectl(), self.second.kubectl()]
    }

    fn hub(&self) -> &Kubectl {
        self.road.hub.kubectl()
    }

    /// Does something to the Deployment `name` on the hub; on each member it must be one generation, and hold `expected`.
    fn one_generation(&self, name: &str, expected: &str, change: impl FnOnce(&Kubectl) -> Result<String>) -> Result<()> {
        let watches: Vec<Watch> =
            self.members().iter().map(|member| member.watch(["deployment", name, "-n", "shop"])).collect::<Result<_>>()?;
        let mut before = Vec::new();
        for watch in &watches {
            before.push(watch.wait_until(SOON, |events| !events.is_empty())?.last().context("an event")?.generation());
        }
        change(self.hub())?;
        for (watch, before) in watches.iter().zip(before) {
            let arrived = |event: &tests::Event| event.generation() > before && event.object["spec"].to_string().contains(expected);
            watch.wait_until(SOON, |events| events.iter().any(arrived)).map_err(|error| error.context(self.road.logs()))?;
            ensure!(watch.generations(name) == [before, before + 1], "{name}: {:?}", watch.generations(name));
        }
        self.road.step(&format!("{expected}: one generation on each member"));
        Ok(())
    }

    fn arrives(&self, kind: &str, name: &str, namespace: &str) -> Result<()> {
        self.members().iter().try_for_each(|member| member.wait_until([kind, name, "-n", namespace], SOON, |_| true).map(drop))
    }

    fn leaves(&self, kind: &str, name: &str, namespace: &str) -> Result<()> {
        self.members().iter().try_for_each(|member| member.wait_until_gone([kind, name, "-n", namespace], SOON))
    }

    fn uids(&self, kind: &str, name: &str) -> Result<Vec<Value>> {
        self.members().iter().map(|member| Ok(member.get([kind, name, "-n", "shop"])?["metadata"]["uid"].clone())).collect()
    }

    fn feed(&self, change: &str) -> Result<()> {
        self.hub().run(["patch", "subscription", "shop", "--type=json", "-p", change]).map(drop)
    }

    fn add_feed(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        self.feed(&format!(r#"[{{"op":"add","path":"/spec/feeds/-","value":{{"apiVersion":"v1","kind":"{kind}","namespace":"{namespace}","name":"{name}"}}}}]"#))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_arrives_and_nothing_stays_behind() -> Result<()> {
    let fleet = Fleet::start().await?;
    let others = fleet.road.others()?;
    fleet.road.ship()?;
    fleet.road.step("applied on two members");
    the_pods_run(&fleet)?;
    each_command_is_one_generation(&fleet)?;
    what_is_new_arrives(&fleet)?;
    a_removed_feed_leaves_and_comes_back(&fleet)?;
    a_missing_template_keeps_and_a_new_one_replaces_in_place(&fleet)?;
    a_namespace_with_somebody_elses_things_stays(&fleet)?;
    let now = fleet.road.others()?;
    let touched: Vec<_> = others.iter().filter(|(name, (uid, _))| now.get(*name).map(|(uid, _)| uid) != Some(uid)).collect();
    ensure!(touched.is_empty(), "not ours and touched: {touched:?}");
    Ok(())
}

fn the_pods_run(fleet: &Fleet) -> Result<()> {
    let available = |found: &Value| {
        let items = found["items"].as_array().map_or(&[][..], Vec::as_slice);
        items.len() == 11 && items.iter().all(|item| item["status"]["availableReplicas"] == item["spec"]["replicas"])
    };
    fleet.road.member.kubectl().wait_until(["deployments", "-n", "shop"], PODS, available)?;
    fleet.road.step("all pods run on the member with a kubelet");
    Ok(())
}

fn each_command_is_one_generation(fleet: &Fleet) -> Result<()> {
    let changed = App::load()?.changed().to_owned();
    fleet.one_generation("catalog", "containers", |hub| hub.apply(&changed))?;
    fleet.one_generation("inventory", "busybox:2", |hub| {
        hub.run(["set", "image", "deployment/inventory", "*=docker.io/local/busybox:2", "-n", "shop"])
    })?;
    let older = Kubectl::of_version(KubectlVersion::V1_32, &fleet.road.hub.data().join("admin.kubeconfig"))?;
    fleet.one_generation("orders", "busybox:2", |_| {
        older.run(["set", "image", "deployment/orders", "*=docker.io/local/busybox:2", "-n", "shop"])
    })?;
    fleet.one_generation("search", "restartedAt", |hub| hub.run(["rollout", "restart", "deployment/search", "-n", "shop"]))?;
    fleet.one_generation("catalog", "\"replicas\":3", |hub| hub.run(["scale", "deployment/catalog", "--replicas=3", "-n", "shop"]))?;
    let editor = r#"sed -i "s/terminationGracePeriodSeconds: 1/terminationGracePeriodSeconds: 7/""#;
    fleet.one_generation("mailer", "\"terminationGracePeriodSeconds\":7", |hub| hub.edit(&["deployment/mailer", "-n", "shop"], editor))?;
    Ok(())
}

fn what_is_new_arrives(fleet: &Fleet) -> Result<()> {
    fleet.hub().run(["create", "ns", "annex"])?;
    fleet.feed(r#"[{"op":"add","path":"/spec/feeds/-","value":{"apiVersion":"v1","kind":"Namespace","name":"annex"}}]"#)?;
    fleet.hub().run(["create", "configmap", "note", "-n", "annex", "--from-literal=a=b"])?;
    fleet.hub().run(["create", "secret", "generic", "key", "-n", "annex", "--from-literal=k=v"])?;
    fleet.add_feed("ConfigMap", "annex", "note")?;
    fleet.add_feed("Secret", "annex", "key")?;
    fleet.arrives("configmap", "note", "annex")?;
    fleet.arrives("secret", "key", "annex")?;
    fleet.road.step("create ns, create configmap and create secret have arrived");
    Ok(())
}

fn a_removed_feed_leaves_and_comes_back(fleet: &Fleet) -> Result<()> {
    let cart = fleet.uids("deployment", "cart")?;
    // The 35th feed is the Deployment `cleaner`.
    fleet.feed(r#"[{"op":"test","path":"/spec/feeds/34/name","value":"cleaner"},{"op":"remove","path":"/spec/feeds/34"}]"#)?;
    fleet.leaves("deployment", "cleaner", "shop")?;
    fleet.feed(
        r#"[{"op":"add","path":"/spec/feeds/-","value":{"apiVersion":"apps/v1","kind":"Deployment","namespace":"shop","name":"cleaner"}}]"#,
    )?;
    fleet.arrives("deployment", "cleaner", "shop")?;
    ensure!(fleet.uids("deployment", "cart")? == cart, "another object was made again");
    fleet.road.step("a removed feed left both members and came back");
    Ok(())
}

fn a_missing_template_keeps_and_a_new_one_replaces_in_place(fleet: &Fleet) -> Result<()> {
    let before = fleet.uids("configmap", "feature-flags")?;
    fleet.hub().run(["delete", "configmap", "feature-flags", "-n", "shop"])?;
    let missing = |found: &Value| {
        condition(found, "FeedsResolved")
            .is_some_and(|resolved| resolved["status"] == "False" && resolved["message"].to_string().contains("feature-flags"))
    };
    fleet.hub().wait_until(["subscription", "shop"], SOON, missing)?;
    ensure!(fleet.uids("configmap", "feature-flags")? == before, "an object left because its template is missing");
    fleet.hub().run(["create", "configmap", "feature-flags", "-n", "shop", "--from-literal=again=yes"])?;
    for member in fleet.members() {
        member.wait_until(["configmap", "feature-flags", "-n", "shop"], SOON, |found| found["data"]["again"] == "yes")?;
    }
    ensure!(fleet.uids("configmap", "feature-flags")? == before, "a template made again made the object again");
    fleet.road.step("a missing template kept its object, a new one replaced it in place");
    Ok(())
}

fn a_namespace_with_somebody_elses_things_stays(fleet: &Fleet) -> Result<()> {
    fleet.road.member.kubectl().run(["create", "configmap", "somebody-elses", "-n", "annex"])?;
    fleet.hub().run(["delete", "subscription", "shop"])?;
    fleet.second.kubectl().wait_until_gone(["namespace", "shop"], SOON)?;
    fleet.second.kubectl().wait_until_gone(["namespace", "annex"], SOON)?;
    fleet.road.member.kubectl().wait_until_gone(["namespace", "shop"], PODS)?;
    fleet.road.member.kubectl().wait_until_gone(["configmap", "note", "-n", "annex"], SOON)?;
    let kept = |found: &Value| {
        let pending = found["items"].as_array().into_iter().flatten().map(|cluster| cluster["status"]["pending"].to_string());
        pending.into_iter().any(|pending| pending.contains("Kept") && pending.contains("somebody-elses"))
    };
    fleet.hub().wait_until(["mcls", "-A"], SOON, kept)?;
    ensure!(fleet.road.member.kubectl().exists(["configmap", "somebody-elses", "-n", "annex"])?, "somebody else's ConfigMap is gone");
    let left: Vec<String> = fleet.road.ours()?.into_keys().collect();
    ensure!(left == ["Namespace /annex"], "left behind: {left:?}");
    fleet.road.step("everything of ours is gone but the namespace with somebody else's ConfigMap, which the hub reports");
    Ok(())
}
