//! Real kubectl, of two versions, through the hub into a real member with real containers: every verb that people use.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::{KubectlVersion, Member, Road, Through};

const PODS: Duration = Duration::from_secs(120);

/// Shells that are open at once.
const SHELLS: usize = 50;

const WORKLOAD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: default, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: box
      image: docker.io/local/busybox:1
      imagePullPolicy: Never
      command: [sh, -c, 'mkdir -p /www; echo served > /www/index.html; httpd -p 8080 -h /www; n=0; while :; do n=$((n+1)); echo line $n; sleep 1; done']
";

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_of_kubectl_goes_through_the_hub() -> Result<()> {
    let road = Road::between(Member::builder("reach").with_node().start().await?, &[])?;
    let through = Through::hub(&road, "operator")?;
    road.member.kubectl().wait_until(["serviceaccounts"], PODS, |found| found["items"].as_array().is_some_and(|all| !all.is_empty()))?;
    for version in [KubectlVersion::V1_32, KubectlVersion::V1_37] {
        road.step(&format!("kubectl {version:?}"));
        let all = objects(&road, &through, version).and_then(|()| containers(&road, &through, version));
        all.map_err(|error| error.context(road.logs()))?;
    }
    shells_at_once(&road, &through)?;
    clusternets_own_form(&road, &through)?;
    refused(&road, &through)
}

fn objects(road: &Road, through: &Through, version: KubectlVersion) -> Result<()> {
    let who = through.run(version, "$kubectl auth whoami -o json")?;
    ensure!(who.contains("hub:operator") && who.contains("hub:operators"), "the member sees {who}");
    through.run(version, &format!("$kubectl apply -f - <<'END'{WORKLOAD}END"))?;
    let pods = road.member.kubectl().wait_until(["pod", "box"], PODS, |pod| pod["status"]["phase"] == "Running")?;
    ensure!(pods["metadata"]["name"] == "box", "{pods}");
    through.run(version, "$kubectl get nodes,pods -A -o wide && $kubectl describe pod box && $kubectl explain pod.spec >/dev/null")?;
    let watched = through.run(
        version,
        "($kubectl get configmaps -w -o name & watch=$!; sleep 2; $kubectl create configmap seen --from-literal=a=b >&2; sleep 2; kill $watch)",
    )?;
    ensure!(watched.contains("configmap/seen"), "kubectl get -w showed {watched:?}");
    through.run(version, "$kubectl patch configmap seen -p '{\"data\":{\"a\":\"c\"}}' && $kubectl delete configmap seen")?;
    Ok(())
}

fn containers(road: &Road, through: &Through, version: KubectlVersion) -> Result<()> {
    let run = |script: &str| through.run(version, script);
    ensure!(run("$kubectl logs box")?.contains("line 1"), "logs");
    let followed = run("timeout 5 $kubectl logs -f --tail=1 box; [ $? = 124 ]")?;
    ensure!(followed.lines().count() >= 3, "logs -f showed {followed:?}");
    ensure!(through.script(version, "$kubectl exec box -- sh -c 'exit 42'")?.status.code() == Some(42), "the exit code is 42");
    road.step("get, apply, watch, logs, logs -f, exit codes");

    let sums = run("head -c 100000000 /dev/urandom > big; sha256sum < big; $kubectl exec -i box -- sha256sum < big")?;
    let sums: Vec<&str> = sums.split_whitespace().filter(|word| word.len() == 64).collect();
    ensure!(sums.len() == 2 && sums[0] == sums[1], "100 MB through exec -i: {sums:?}");
    run(
        "head -c 20000000 big > some; $kubectl cp some box:/tmp/some && $kubectl cp box:/tmp/some back && cmp some back && rm -f big some back",
    )?;
    road.step("100 MB of standard input with its checksum, cp both ways");

    let terminal = "script -qec 'stty rows 33 cols 101; (sleep 4; stty -F /dev/tty rows 44 cols 155) & \
        exec $kubectl exec -it box -- sh -c \"for rows in 33 44; do until stty size | grep -q $rows; do sleep 0.5; done; stty size; done\"' /dev/null </dev/null";
    let sizes = run(&format!("export kubectl; {}", terminal.replace("$rows", "\\$rows")))?;
    ensure!(sizes.contains("33 101") && sizes.contains("44 155"), "a terminal and its resize: {sizes:?}");
    let attached = run("timeout 4 $kubectl attach box 2>/dev/null; [ $? = 124 ]")?;
    ensure!(attached.contains("line "), "attach showed {attached:?}");
    let served = run("$kubectl port-forward pod/box :8080 > forwarded & forward=$!
        for i in $(seq 100); do grep -q Forwarding forwarded && break; sleep 0.1; done
        port=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) .*/\\1/p' forwarded)
        seq 60 | xargs -P 6 -I{} curl -sS --max-time 20 http://127.0.0.1:$port/index.html | sort | uniq -c; kill $forward")?;
    ensure!(served.trim() == "60 served", "port-forward under load: {served:?}");
    road.step("a terminal with resize, attach, port-forward with 60 requests six at a time");
    Ok(())
}

/// Each says its own numbers once all of them are there; none gets another's, and none too few.
fn shells_at_once(road: &Road, through: &Through) -> Result<()> {
    let script = r#"
        numbers() { seq $1 SHELLS 200000; echo end $1; }
        $kubectl exec box -- mkdir /tmp/here
        for n in $(seq SHELLS); do
            own="touch /tmp/here/$n; until [ \$(ls /tmp/here | wc -l) = SHELLS ]; do sleep 0.2; done; seq $n SHELLS 200000; echo end $n"
            $kubectl exec box -- sh -c "$own" > out-$n &
        done
        wait
        for n in $(seq SHELLS); do cmp <(numbers $n) out-$n || exit 1; done
        rm -f out-*"#;
    through.run(KubectlVersion::V1_37, &script.replace("SHELLS", &SHELLS.to_string()))?;
    road.step(&format!("{SHELLS} shells at once, each with its own numbers"));
    Ok(())
}

/// curl as Clusternet documents it: the cluster's id, its own token as an extra, a token of the hub beside it.
fn clusternets_own_form(road: &Road, through: &Through) -> Result<()> {
    let member = road.member.kubectl();
    member.run(["create", "serviceaccount", "caller"])?;
    member.run(["create", "clusterrolebinding", "caller", "--clusterrole=view", "--serviceaccount=default:caller"])?;
    let secret = member.run(["create", "token", "caller"])?;
    let clusters = road.hub.kubectl().get(["mcls", "-A"])?;
    let id = clusters["items"][0]["spec"]["clusterId"].as_str().unwrap_or_default().to_owned();
    let sockets = format!("https://{}/apis/proxies.clusternet.io/v1alpha1/sockets/{id}/proxy/direct", road.hub.api());
    let curl = |headers: &str, path: &str| {
        through.run(
            KubectlVersion::V1_37,
            &format!(
                "$kubectl config view --raw -o jsonpath='{{.clusters[0].cluster.certificate-authority-data}}' | base64 -d > ca.crt
                curl -sS --cacert ca.crt {headers} '{sockets}{path}'"
            ),
        )
    };
    let hub_token = format!("-H 'Authorization: Bearer {}'", through.token);
    let extra = format!("-H 'Impersonate-User: clusternet' -H 'Impersonate-Extra-Clusternet-Token: {}'", secret.trim());
    let pods = curl(&format!("{hub_token} {extra}"), "/api/v1/namespaces/default/pods")?;
    ensure!(pods.contains("\"PodList\"") && pods.contains("\"box\""), "curl as Clusternet documents it: {pods}");
    let secrets = curl(&format!("{hub_token} {extra}"), "/api/v1/namespaces/default/secrets")?;
    ensure!(secrets.contains("Forbidden") && secrets.contains("system:serviceaccount:default:caller"), "{secrets}");
    let nobody = curl(&format!("-H 'Authorization: Basic system:anonymous' {extra}"), "/version")?;
    ensure!(nobody.contains("Unauthorized"), "without a token of the hub: {nobody}");
    let found = |what: &str| {
        let script = format!("(grep -rlaF '{what}' '{}' || true) | wc -l", road.hub.data().display());
        through.run(KubectlVersion::V1_37, &script).map(|count| count.trim().to_owned())
    };
    let flat = format!("$kubectl config view --raw --flatten --kubeconfig '{}'", road.member.kubeconfig().display());
    let of_admin = |what: &str| through.run(KubectlVersion::V1_37, &format!("{flat} -o jsonpath='{{.users[0].user.{what}}}'"));
    let (certificate, key) = (of_admin("client-certificate-data")?, of_admin("client-key-data")?);
    let extra = format!(
        "-H 'Impersonate-User: clusternet' -H 'Impersonate-Extra-Clusternet-Certificate: {certificate}' \
        -H 'Impersonate-Extra-Clusternet-PrivateKey: {key}'"
    );
    let admins = curl(&format!("{hub_token} {extra}"), "/apis/authentication.k8s.io/v1")?;
    ensure!(admins.contains("selfsubjectreviews"), "the caller's own certificate: {admins}");
    let secrets = curl(&format!("{hub_token} {extra}"), "/api/v1/namespaces/default/secrets")?;
    ensure!(secrets.contains("SecretList"), "the caller's own certificate: {secrets}");
    for (what, text) in [("token", secret.trim()), ("certificate", &certificate[200..280]), ("key", &key[100..180])] {
        ensure!(found(text)? == "0", "the member's {what} is on the hub's disk");
        ensure!(!road.hub.log().contains(text), "the member's {what} is in the hub's log");
    }
    std::fs::write(road.hub.data().join("planted"), secret.trim())?;
    ensure!(found(secret.trim())? == "1", "the search finds what is there");
    std::fs::remove_file(road.hub.data().join("planted"))?;
    road.step("Clusternet's URLs and headers, with a token and with a certificate: neither is anywhere on the hub's disk or in its log");
    Ok(())
}

fn refused(road: &Road, through: &Through) -> Result<()> {
    let asked = through.script(KubectlVersion::V1_37, "$kubectl get pods --as=system:admin")?;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    ensure!(!asked.status.success() && said.contains("orbidden"), "kubectl --as: {said}");
    road.hub.run(&["user", "revoke", "operator"])?;
    let asked = through.script(KubectlVersion::V1_37, "$kubectl get pods")?;
    ensure!(!asked.status.success(), "a revoked user gets nothing");
    let audit = std::fs::read_to_string(road.hub.data().join("audit.log"))?;
    let exec = audit.lines().find(|line| line.contains("exit 42"));
    ensure!(exec.is_some_and(|line| line.contains("operator") && line.contains("reach")), "the audit log lacks the exec");
    ensure!(!audit.contains(&through.token), "the audit log holds a token");
    road.step(&format!("refusals; {} lines of audit, the exec among them, no token", audit.lines().count()));
    Ok(())
}
