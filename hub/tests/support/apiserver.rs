//! A real etcd and kube-apiserver with the hub's CRDs, one set a test program, on free loopback ports and in a temporary folder.
//!
//! Each process is held by a shell that ends it, and removes the folder, when this program's end of a pipe closes: however it ends.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

const TOKEN: &str = "test-admin";
const PATIENCE: Duration = Duration::from_secs(90);

struct Server {
    kubeconfig: PathBuf,
    _held: [Child; 2],
}

/// A client of this program's API server, started on first use.
pub async fn client() -> Client {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(start)).await.expect("the API server starts");
    let file = Kubeconfig::read_from(&server.kubeconfig).expect("just written");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("just written");
    Client::try_from(config).expect("a client")
}

fn start() -> Server {
    let folder = tempfile::Builder::new().prefix("hub-apiserver-").tempdir().expect("a temporary folder").keep();
    let [etcd, peer, api] = [free_port(), free_port(), free_port()];
    write_keys(&folder);
    let kubeconfig = write_kubeconfig(&folder, api);
    let server = Server {
        _held: [
            hold(&folder, "etcd", Path::new("/usr/bin/etcd"), &etcd_flags(&folder, etcd, peer)),
            hold(&folder, "kube-apiserver", &programs().join("kube-apiserver"), &apiserver_flags(&folder, etcd, api)),
        ],
        kubeconfig,
    };
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    wait_for("the API server answers", &folder, || kubectl(&server.kubeconfig, &["get", "--raw", "/readyz"]));
    wait_for("deploy/crds apply", &folder, || kubectl(&server.kubeconfig, &["apply", "-f", &crds.display().to_string()]));
    wait_for("the CRDs are served", &folder, || kubectl(&server.kubeconfig, &["wait", "--for=condition=Established", "crd", "--all"]));
    server
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback has free ports").port()
}

/// The folder of the Kubernetes programs, built if they are missing.
fn programs() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/testbed/build-kubernetes");
    let built = Command::new(script).stderr(Stdio::inherit()).output().expect("build-kubernetes runs");
    assert!(built.status.success(), "build-kubernetes failed");
    PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim())
}

/// A CA, the server's certificate from it, and the key of service account tokens.
fn write_keys(folder: &Path) {
    let run = |args: &str| {
        let done = Command::new("openssl").current_dir(folder).args(args.split_whitespace()).output().expect("openssl is installed");
        assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
    };
    fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1,DNS:kubernetes.default.svc\nbasicConstraints=CA:FALSE\n").expect("writable");
    run("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt");
    run("req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout server.key -out server.csr");
    run("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt");
    run("genrsa -out accounts.key 2048");
    fs::write(folder.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n")).expect("writable");
}

fn write_kubeconfig(folder: &Path, port: u16) -> PathBuf {
    let (path, ca) = (folder.join("kubeconfig"), folder.join("ca.crt"));
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters: [{{name: t, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{}'}}}}]\n\
         users: [{{name: t, user: {{token: {TOKEN}}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\n",
        ca.display()
    );
    fs::write(&path, text).expect("writable");
    path
}

fn etcd_flags(folder: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let data = folder.join("etcd-data").display().to_string();
    let flags = [
        ("data-dir", data),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("default={peer}")),
        ("unsafe-no-fsync", "true".to_owned()),
    ];
    flags.map(|(name, value)| format!("--{name}={value}")).to_vec()
}

fn apiserver_flags(folder: &Path, etcd: u16, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let flags = [
        ("etcd-servers", format!("http://127.0.0.1:{etcd}")),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("tls-cert-file", file("server.crt")),
        ("tls-private-key-file", file("server.key")),
        ("token-auth-file", file("tokens.csv")),
        ("authorization-mode", "RBAC".to_owned()),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", file("accounts.key")),
        ("service-account-signing-key-file", file("accounts.key")),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("disable-admission-plugins", "ServiceAccount".to_owned()),
    ];
    flags.map(|(name, value)| format!("--{name}={value}")).to_vec()
}

fn hold(folder: &Path, name: &str, program: &Path, flags: &[String]) -> Child {
    const SCRIPT: &str = r#""$@" >"$LOG" 2>&1 & child=$!; cat >/dev/null; kill -9 "$child"; wait "$child"; rm -rf "$FOLDER""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(program).args(flags);
    shell.env("LOG", folder.join(format!("{name}.log"))).env("FOLDER", folder);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

fn kubectl(kubeconfig: &Path, args: &[&str]) -> Result<(), String> {
    let done = Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(args).output().expect("kubectl is on the PATH");
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn wait_for(what: &str, folder: &Path, attempt: impl Fn() -> Result<(), String>) {
    let started = Instant::now();
    while let Err(error) = attempt() {
        let log = || fs::read_to_string(folder.join("kube-apiserver.log")).unwrap_or_default();
        let tail = || log().lines().rev().take(5).collect::<Vec<_>>().join("\n");
        assert!(started.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}: {error}\n{}", tail());
        std::thread::sleep(Duration::from_millis(200));
    }
}
