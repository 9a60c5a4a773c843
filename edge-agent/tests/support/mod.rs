//! A real member: etcd, kube-apiserver and kube-controller-manager of this machine's own, one set a test program.
//!
//! Everything lives in one temporary folder and on free loopback ports. Each process is guarded by a shell that ends it,
//! and removes the folder, when this test program ends in whatever way (its end of the pipe closes).

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A running control plane without nodes.
pub struct Member {
    pub dir: PathBuf,
    pub kubeconfig: PathBuf,
    _guards: Vec<Child>,
}

/// The member of this test program, started on first use.
pub fn member() -> &'static Member {
    static MEMBER: OnceLock<Member> = OnceLock::new();
    MEMBER.get_or_init(start)
}

/// Runs kubectl as the member's admin and returns what it printed; panics with its words when it fails.
pub fn kubectl(args: &[&str], input: &str) -> String {
    let output = run_kubectl(args, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {errors}");
    String::from_utf8(output.stdout).expect("kubectl prints text")
}

/// Whether kubectl succeeds, for what may not be ready yet.
#[allow(dead_code)] // not by every test program
pub fn try_kubectl(args: &[&str], input: &str) -> bool {
    run_kubectl(args, input).status.success()
}

fn run_kubectl(args: &[&str], input: &str) -> Output {
    let kubeconfig = &member().kubeconfig;
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on the PATH");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("kubectl reads");
    child.wait_with_output().expect("kubectl ends")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("bound").port()
}

fn start() -> Member {
    let programs = kubernetes();
    let dir = tempfile::Builder::new().prefix("member-").tempdir().expect("temporary folder").keep();
    certificates(&dir);
    let [etcd, peer, port] = [free_port(), free_port(), free_port()];
    let kubeconfig = write_kubeconfig(&dir, port);
    let guards = vec![
        guard(&dir, "etcd", Path::new("etcd"), &etcd_flags(&dir, etcd, peer)),
        guard(&dir, "kube-apiserver", &programs.join("kube-apiserver"), &apiserver_flags(&dir, etcd, port)),
    ];
    let mut member = Member { dir, kubeconfig, _guards: guards };
    wait_ready(&member);
    let flags = controller_flags(&member);
    member._guards.push(guard(&member.dir, "kube-controller-manager", &programs.join("kube-controller-manager"), &flags));
    member
}

/// The folder of the Kubernetes programs, built if they are missing.
fn kubernetes() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/testbed/build-kubernetes");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("build-kubernetes runs");
    assert!(output.status.success(), "build-kubernetes failed");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

fn guard(dir: &Path, name: &str, program: &Path, flags: &[String]) -> Child {
    const SCRIPT: &str = r#""$@" >"$LOG" 2>&1 & child=$!; cat >/dev/null; kill -9 "$child"; wait "$child"; rm -rf "$DIR""#;
    Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(program)
        .args(flags)
        .env("LOG", dir.join(format!("{name}.log")))
        .env("DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

fn wait_ready(member: &Member) {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        let kubectl = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&member.kubeconfig)
            .args(["get", "--raw", "/readyz"])
            .output()
            .expect("kubectl is on the PATH");
        if kubectl.status.success() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let log = fs::read_to_string(member.dir.join("kube-apiserver.log")).unwrap_or_default();
    panic!("kube-apiserver is not ready after 120 s:\n{}", &log[log.len().saturating_sub(3000)..]);
}

fn etcd_flags(dir: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--data-dir={}/etcd", dir.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
    ]
}

fn apiserver_flags(dir: &Path, etcd: u16, port: u16) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--authorization-mode=Node,RBAC".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
    ]
}

fn controller_flags(member: &Member) -> Vec<String> {
    let file = |name: &str| member.dir.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", member.kubeconfig.display()),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
    ]
}

fn certificates(dir: &Path) {
    const SCRIPT: &str = r#"
        set -e
        ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        openssl req -x509 $ec -keyout ca.key -out ca.crt -days 2 -subj /CN=member-ca
        openssl req -x509 $ec -keyout other.key -out other.crt -days 2 -subj /CN=other-ca
        sign() { openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $1.crt -extfile $1.ext; }
        openssl req $ec -keyout server.key -out server.csr -subj /CN=kube-apiserver
        echo "subjectAltName=IP:127.0.0.1,DNS:localhost" > server.ext; sign server
        openssl req $ec -keyout admin.key -out admin.csr -subj /O=system:masters/CN=admin
        echo "extendedKeyUsage=clientAuth" > admin.ext; sign admin
        openssl genrsa -out accounts.key 2048
        openssl rsa -in accounts.key -pubout -out accounts.pub
    "#;
    let output = Command::new("sh").args(["-c", SCRIPT]).current_dir(dir).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn write_kubeconfig(dir: &Path, port: u16) -> PathBuf {
    let at = dir.display();
    let text = format!(
        r#"apiVersion: v1
kind: Config
current-context: member
contexts: [{{name: member, context: {{cluster: member, user: admin}}}}]
clusters: [{{name: member, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {at}/ca.crt}}}}]
users: [{{name: admin, user: {{client-certificate: {at}/admin.crt, client-key: {at}/admin.key}}}}]
"#
    );
    let path = dir.join("admin.kubeconfig");
    fs::write(&path, text).expect("kubeconfig is written");
    path
}
