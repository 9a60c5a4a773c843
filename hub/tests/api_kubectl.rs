//! Real kubectl against the API over plain HTTP on loopback, command by command as people use it.

mod api_support;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use api_support::{Hub, hub, real_hub};
use hub::api::Identity;
use serde_json::Value;

const APPLICATION: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {color: blue}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", env: [{name: A, value: "1"}]}
      - {name: side, image: "side:1"}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Subscription
metadata: {name: shop, namespace: default}
spec:
  subscribers: [{clusterAffinity: {matchLabels: {site: a}}}]
  feeds:
  - {apiVersion: v1, kind: Namespace, name: shop}
  - {apiVersion: apps/v1, kind: Deployment, namespace: shop, name: web}
"#;

struct Kubectl {
    hub: Hub,
    config: PathBuf,
}

impl Kubectl {
    async fn start() -> Self {
        Self::serve(hub()).await
    }

    async fn serve(hub: Hub) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("address");
        // kubectl sends no token without TLS, so this listener says who asks.
        let router = hub.router.clone().layer(axum::Extension(Identity::admin("admin")));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = hub.folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: hub\nclusters: [{{name: hub, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: admin, user: {{}}}}]\ncontexts: [{{name: hub, context: {{cluster: hub, user: admin}}}}]\n"
        );
        std::fs::write(&config, text).expect("kubeconfig");
        Self { hub, config }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.config).env("HOME", self.hub.folder.path()).args(line.split_whitespace());
        command
    }

    async fn run(&self, line: &str, input: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = self.command(line);
        command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut child = command.spawn().expect("kubectl is on the PATH");
            child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("input");
            child.wait_with_output().expect("kubectl ends")
        })
        .await
        .expect("joined")
    }

    /// What a command that must succeed prints.
    async fn ok(&self, line: &str) -> String {
        self.ok_with(line, "", &[]).await
    }

    async fn ok_with(&self, line: &str, input: &str, environment: &[(&str, &str)]) -> String {
        let output = self.run(line, input, environment).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "kubectl {line}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    async fn deployment(&self) -> Value {
        serde_json::from_str(&self.ok("get deployment web -n shop -o json").await).expect("json")
    }
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{text:?} does not say {wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_applied_read_changed_and_deleted() {
    let kubectl = Kubectl::start().await;
    let applied = kubectl.ok_with("apply -f -", APPLICATION, &[]).await;
    says(&applied, &["namespace/shop created", "deployment.apps/web created", "subscription.apps.clusternet.io/shop created"]);
    let again = kubectl.ok_with("apply -f -", APPLICATION, &[]).await;
    says(&again, &["deployment.apps/web unchanged", "subscription.apps.clusternet.io/shop unchanged"]);
    let changed = APPLICATION.replace("web:1", "web:2").replace("site: a", "site: b");
    let diff = kubectl.run("diff -f -", &changed, &[]).await;
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    says(&String::from_utf8_lossy(&diff.stdout), &["web:2", "site: b"]);
    let configured = kubectl.ok_with("apply -f -", &changed, &[]).await;
    says(&configured, &["deployment.apps/web configured", "subscription.apps.clusternet.io/shop configured", "service/web unchanged"]);
    assert_eq!(kubectl.deployment().await["metadata"]["generation"], 2);
    says(
        &kubectl.ok("get deploy,svc,cm,sub -A").await,
        &["deployment.apps/web", "service/web", "configmap/settings", "subscription.apps.clusternet.io/shop"],
    );
    says(&kubectl.ok("get ns").await, &["NAME", "shop"]);
    says(&kubectl.ok("describe deployment web -n shop").await, &["web:2", "side:1"]);
    says(&kubectl.ok("describe subs shop").await, &["Cluster Affinity"]);
    says(&kubectl.ok("explain subscription").await, &["Subscription"]);
    says(&kubectl.ok("explain deployment").await, &["Deployment"]);
    let deleted = kubectl.ok_with("delete -f - --timeout=20s", &changed, &[]).await;
    says(&deleted, &["deployment.apps \"web\" deleted", "namespace \"shop\" deleted"]);
    assert_eq!(kubectl.ok("get deploy,svc,cm,sub,ns -A -o name").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_changed_by_each_command_that_people_use() {
    let kubectl = Kubectl::start().await;
    kubectl.ok_with("apply -f -", APPLICATION, &[]).await;
    kubectl.ok("set image deployment/web -n shop web=web:3").await;
    let containers = kubectl.deployment().await["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(
        (&containers[0]["image"], &containers[1]["image"], &containers[0]["env"][0]["value"]),
        (&"web:3".into(), &"side:1".into(), &"1".into())
    );
    kubectl.ok("scale deployment/web -n shop --replicas=5").await;
    assert_eq!(kubectl.deployment().await["spec"]["replicas"], 5);
    kubectl.ok("rollout restart deployment/web -n shop").await;
    assert!(kubectl.deployment().await["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
    kubectl.ok("label deployment/web -n shop tier=front").await;
    kubectl.ok("annotate deployment/web -n shop note=x").await;
    assert_eq!(kubectl.ok("get deploy -n shop -l tier=front -o name").await.trim(), "deployment.apps/web");
    kubectl.ok_with("edit deployment/web -n shop", "", &[("EDITOR", "sed -i s/web:3/web:4/")]).await;
    kubectl.ok_with("edit subscription/shop", "", &[("EDITOR", "sed -i s/site:/place:/")]).await;
    says(&kubectl.ok("get sub shop -o yaml").await, &["place: a"]);
    kubectl.ok("set env deployment/web -n shop A=2").await;
    let object = kubectl.deployment().await;
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["env"][0]["value"]), (&"web:4".into(), &"2".into()));
    assert_eq!(object["metadata"]["generation"], 6);
    kubectl.ok("wait deployment/web -n shop --for=jsonpath={.spec.replicas}=5 --timeout=10s").await;
    let replaced = object.to_string().replace("web:4", "web:5");
    kubectl.ok_with("replace -f -", &replaced, &[]).await;
    let stale = kubectl.run("replace -f -", &replaced, &[]).await;
    says(&String::from_utf8_lossy(&stale.stderr), &["the object has been modified"]);
    let refused = kubectl.run("apply --server-side -f -", APPLICATION, &[]).await;
    says(&String::from_utf8_lossy(&refused.stderr), &["erver-side apply"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generators_of_kubectl_create_make_templates() {
    let kubectl = Kubectl::start().await;
    let lines = [
        "create namespace shop",
        "create configmap settings -n shop --from-literal=color=blue",
        "create secret generic keys -n shop --from-literal=key=secret",
        "create deployment web -n shop --image=web:1 --replicas=2",
        "create service clusterip web -n shop --tcp=80:8080",
        "create serviceaccount robot -n shop",
        "create role reader -n shop --verb=get --resource=pods",
        "create rolebinding reader -n shop --role=reader --serviceaccount=shop:robot",
        "create clusterrole watcher --verb=watch --resource=pods",
        "create job once -n shop --image=once:1",
        "create cronjob often -n shop --image=often:1 --schedule=*/5",
        "expose deployment web -n shop --name=front --port=80",
    ];
    for line in &lines {
        let words = line.replace("*/5", "@hourly");
        kubectl.ok(&words).await;
    }
    assert_eq!(kubectl.deployment().await["spec"]["replicas"], 2);
    assert_eq!(kubectl.ok("get secret keys -n shop -o jsonpath={.data.key}").await, "c2VjcmV0");
    let taken = kubectl.run("create namespace shop", "", &[]).await;
    says(&String::from_utf8_lossy(&taken.stderr), &["AlreadyExists", "\"shop\" already exists"]);
    assert_eq!(kubectl.ok("auth can-i delete deployments").await.trim(), "yes");
    says(&kubectl.ok("auth whoami").await, &["admin"]);
    says(&kubectl.ok("api-resources").await, &["managedclusters", "mcls", "deployments"]);
    says(&kubectl.ok("version").await, &["Server Version: v1.37.2"]);
    let lost = kubectl.run("get deployment nothing -n shop", "", &[]).await;
    says(&String::from_utf8_lossy(&lost.stderr), &["Error from server (NotFound): deployments.apps \"nothing\" not found"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_w_prints_changes_as_they_come() {
    let kubectl = Kubectl::start().await;
    kubectl.ok_with("apply -f -", APPLICATION, &[]).await;
    let seen = kubectl.hub.folder.path().join("seen");
    let output = std::fs::File::create(&seen).expect("file");
    let mut child: Child = kubectl.command("get deployment -n shop -w").stdout(output).stderr(Stdio::null()).spawn().expect("kubectl");
    let lines = |wanted: usize| {
        let seen = seen.clone();
        async move {
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let text = std::fs::read_to_string(&seen).expect("read");
                if text.lines().count() >= wanted {
                    return text;
                }
                assert!(Instant::now() < until, "only {text:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    lines(2).await;
    kubectl.ok("scale deployment/web -n shop --replicas=3").await;
    let text = lines(3).await;
    child.kill().expect("stopped by its id");
    child.wait().expect("ended");
    says(&text, &["NAME", "/1 ", "/3 "]);
}

const OVERRIDES: &str = r#"
apiVersion: apps.clusternet.io/v1alpha1
kind: Localization
metadata: {name: nginx-local-overrides-demo, namespace: clusternet-5l82l}
spec:
  overridePolicy: ApplyLater
  priority: 300
  overrides:
  - name: scale-replicas
    type: JSONPatch
    value: |-
      [{"path": "/spec/replicas", "value": 1, "op": "replace"}]
  feed: {kind: Deployment, apiVersion: apps/v1, name: web, namespace: shop}
---
apiVersion: apps.clusternet.io/v1alpha1
kind: Globalization
metadata: {name: nginx-global-overrides-demo}
spec:
  clusterAffinity: {matchLabels: {site: a}}
  overrides:
  - name: site
    type: MergePatch
    value: '{"metadata": {"labels": {"site": "${cluster.name}"}}}'
  feed: {kind: Deployment, apiVersion: apps/v1, name: web, namespace: shop}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_are_applied_defaulted_listed_and_deleted() {
    let kubectl = Kubectl::serve(real_hub()).await;
    kubectl.ok_with("apply -f -", APPLICATION, &[]).await;
    let applied = kubectl.ok_with("apply -f -", OVERRIDES, &[]).await;
    says(
        &applied,
        &["localization.apps.clusternet.io/nginx-local-overrides-demo created", "globalization.apps.clusternet.io/nginx-global"],
    );
    says(
        &kubectl.ok_with("apply -f -", OVERRIDES, &[]).await,
        &["nginx-local-overrides-demo unchanged", "nginx-global-overrides-demo unchanged"],
    );
    for names in ["locs,globs", "loc,glob", "local,global"] {
        says(&kubectl.ok(&format!("get {names} -A")).await, &["nginx-local-overrides-demo", "nginx-global-overrides-demo"]);
    }
    assert_eq!(
        kubectl.ok("get glob nginx-global-overrides-demo -o jsonpath={.spec.priority}-{.spec.overridePolicy}").await,
        "500-ApplyLater"
    );
    says(&kubectl.ok("explain globalization.spec.overrides").await, &["value", "type"]);
    kubectl.ok("delete glob nginx-global-overrides-demo").await;
    kubectl.ok("delete loc nginx-local-overrides-demo -n clusternet-5l82l").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_around_overrides_are_told_with_the_remedy() {
    let kubectl = Kubectl::serve(real_hub()).await;
    let told = |text: String| {
        let kubectl = &kubectl;
        async move {
            let output = kubectl.run("apply -f -", &text, &[]).await;
            format!("{}{}", output.status.success(), String::from_utf8_lossy(&output.stderr))
        }
    };
    let (wrong, right) =
        ("- {apiVersion: apps/v1, kind: Service, namespace: shop, name: web}", "- {apiVersion: v1, kind: Namespace, name: shop}");
    let subscription = APPLICATION.rsplit("---").next().expect("the last one").to_owned();
    let text = told(subscription.replace("  subscribers:", "  overrides: []\n  subscribers:")).await;
    says(&text, &["false", include_str!("../../tests/golden/spec-overrides.txt").trim()]);
    let text = told(subscription.replace(right, wrong)).await;
    says(
        &text,
        &[
            "false",
            include_str!("../../tests/golden/wrong-feed-version.txt").trim().trim_start_matches("The Subscription \"bad\" is invalid: "),
        ],
    );
    let text = told(OVERRIDES.replace("priority: 300", "priority: 1001")).await;
    says(&text, &["false", "spec.priority", "less than or equal to 1000"]);
    let text = told(OVERRIDES.replace("/spec/replicas", "spec.replicas")).await;
    says(&text, &["false", "spec.overrides[0].value", "value is no JSONPatch"]);
    let text = told(OVERRIDES.replace("${cluster.name}", "${cluster.nam}")).await;
    says(&text, &["false", "unknown variable ${cluster.nam}"]);
    let text = told(OVERRIDES.replace("type: MergePatch", "type: Helm")).await;
    says(&text, &["false", "spec.overrides[0].type", "Helm is for feeds of kind HelmChart: use MergePatch or JSONPatch for a Deployment"]);
}
