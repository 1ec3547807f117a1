//! TLS on both sides: the one port with a certificate of its own and clients that may have to show one, and providers behind own
//! authorities, client certificates and a proxy. The client of the port is curl: one that nobody here wrote.

use std::io::{Read, Write};
use std::net::TcpStream as Plain;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qa::tools::{free_port, run_alfred};
use qa::upstream::Upstream;
use qa::world::{ADMIN_KEY, Process, Setup, hello};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority of one test, and a folder for what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, in files.
struct Signed {
    chain: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Authority { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let at = |kind: &str| self.folder.path().join(format!("{name}.{kind}.pem"));
        std::fs::write(at("chain"), certificate.pem()).expect("a file");
        std::fs::write(at("key"), key.serialize_pem()).expect("a file");
        Signed { chain: at("chain"), key: at("key") }
    }
}

/// A house with TLS on its port; it needs no provider but the built-in one.
struct Door {
    process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn open(tls: Value) -> Door {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let config = json!({
            "listen": format!("127.0.0.1:{port}"), "tls": tls, "providers": [{"id": "sim", "kind": "sim"}],
            "models": [{"id": "chat", "targets": ["sim/echo"]}], "log": {"filter": "info,gateway=debug"},
        });
        let file = folder.path().join("alfred.yaml");
        std::fs::write(&file, config.to_string()).expect("a file");
        let arguments = ["serve", "--config", file.to_str().expect("a path")];
        let url = format!("https://127.0.0.1:{port}");
        let process = Process::spawn(&arguments, &[("ALFRED_BOOTSTRAP_ADMIN_KEY", ADMIN_KEY)], folder.path(), &url);
        let door = Door { process, port, _folder: folder };
        door.until("listens", || door.process.log().contains(&format!("alfred listens on {url}"))).await;
        door
    }

    async fn until(&self, what: &str, so: impl Fn() -> bool) {
        let from = Instant::now();
        while !so() {
            assert!(from.elapsed() < Duration::from_secs(60), "{what}:\n{}", self.process.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What curl gets from `/healthz`: status and version of HTTP, or its own exit code.
    fn curl(&self, arguments: &[&str]) -> Result<String, i32> {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{http_version}",
        ]);
        command.args(arguments).arg(format!("https://127.0.0.1:{}/healthz", self.port));
        let done = command.output().expect("curl runs");
        match done.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            code => Err(code.unwrap_or(-1)),
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn section(signed: &Signed) -> Value {
    json!({"cert_file": signed.chain, "key_file": signed.key, "reload_ms": 50})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_speaks_https_and_says_so_to_whoever_does_not() {
    let authority = Authority::new();
    let door = Door::open(section(&authority.sign("127.0.0.1"))).await;
    let ca = authority.file();
    assert_eq!(door.curl(&["--http1.1", "--cacert", text(&ca)]).as_deref(), Ok("200 1.1"));
    assert_eq!(door.curl(&["--http2", "--cacert", text(&ca)]).as_deref(), Ok("200 2"));
    assert!(door.curl(&["--cacert", text(&Authority::new().file())]).is_err(), "another authority is not believed");
    let mut plain = Plain::connect(("127.0.0.1", door.port)).expect("a connection");
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    let mut said = String::new();
    plain.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("this port speaks https, and no http"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_draws_a_handshake_out_keeps_nobody_waiting() {
    let authority = Authority::new();
    let door = Door::open(section(&authority.sign("127.0.0.1"))).await;
    let silent: Vec<Plain> =
        (0..200).map(|_| Plain::connect(("127.0.0.1", door.port)).expect("a connection")).collect();
    let half: Vec<Plain> = (0..200)
        .map(|_| {
            let mut stream = Plain::connect(("127.0.0.1", door.port)).expect("a connection");
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("sent");
            stream
        })
        .collect();
    assert_eq!(door.curl(&["--http1.1", "--cacert", text(&authority.file())]).as_deref(), Ok("200 1.1"));
    // And they are let go.
    for mut stream in silent.into_iter().chain(half) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
        assert!(matches!(stream.read(&mut [0; 64]), Ok(_)), "the house hangs up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_of_the_right_authority_where_they_must() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let ca = authority.file();
    let (good, wrong) = (clients.sign("app"), others.sign("app"));
    let with = |signed: &Signed| {
        ["--cacert", text(&ca), "--cert", text(&signed.chain), "--key", text(&signed.key)].map(str::to_owned)
    };
    let asked = |door: &Door, arguments: &[String]| {
        // TLS 1.3 lets a client speak before it is refused: what counts is that it gets no answer.
        door.curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for (auth, bare) in [(json!("required"), false), (Value::Null, false), (json!("optional"), true)] {
        let mut tls = section(&authority.sign("127.0.0.1"));
        tls["client_ca_file"] = json!(clients.file());
        tls["client_auth"] = auth.clone();
        let door = Door::open(tls).await;
        assert!(asked(&door, &with(&good)).is_ok_and(|it| it.starts_with("200")), "{auth}");
        assert!(asked(&door, &with(&wrong)).is_err(), "{auth}: of another authority");
        assert_eq!(door.curl(&["--cacert", text(&ca)]).is_ok(), bare, "{auth}: without one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (first, second) = (Authority::new(), Authority::new());
    let signed = first.sign("127.0.0.1");
    let door = Door::open(section(&signed)).await;
    let mut standing = connect(&first, door.port).await;
    assert!(ask(&mut standing).await.starts_with("HTTP/1.1 200"));
    let newer = second.sign("127.0.0.1");
    // The certificate first, the key later: what does not belong together is not taken.
    std::fs::copy(&newer.chain, &signed.chain).expect("copied");
    let told = || door.process.log().contains("the new certificate cannot be used; the old one stays");
    door.until("a half change is told", told).await;
    let trusts = |authority: &Authority| door.curl(&["--cacert", text(&authority.file())]).is_ok();
    assert!(trusts(&first) && !trusts(&second));
    std::fs::copy(&newer.key, &signed.key).expect("copied");
    door.until("the new one is shown", || trusts(&second)).await;
    assert!(!trusts(&first));
    assert!(ask(&mut standing).await.starts_with("HTTP/1.1 200"), "the old connection goes on");
    std::fs::write(&signed.chain, "no certificate").expect("a file");
    std::fs::remove_file(&signed.key).expect("removed");
    door.until("the bad one is told", || door.process.log().matches("cannot be used").count() >= 2).await;
    assert!(trusts(&second));
}

async fn connect(authority: &Authority, port: u16) -> tokio_rustls::client::TlsStream<TcpStream> {
    let config = tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots(authority))
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let name = "127.0.0.1".try_into().expect("a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
}

async fn ask(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut buffer = [0; 4_096];
    let read = stream.read(&mut buffer).await.expect("an answer");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).expect("a certificate")).expect("an authority");
    roots
}

#[test]
fn a_check_of_the_configuration_names_what_is_wrong_with_certificates() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (signed, other) = (authority.sign("a.example"), authority.sign("b.example"));
    let torn = folder.path().join("torn.pem");
    std::fs::write(&torn, "-----BEGIN CERTIFICATE-----\ncanary\n").expect("a file");
    let check = |config: Value, place: &str, part: &str| {
        let file = folder.path().join("alfred.yaml");
        std::fs::write(&file, serde_json::to_string_pretty(&config).expect("text")).expect("a file");
        let (code, out, err) = run_alfred(&["config", "check", "--config", text(&file)]);
        let said = out + &err;
        assert_eq!(code, i32::from(!part.is_empty()), "{place}: {said}");
        assert!(said.contains(place) && said.contains(part) && !said.contains("canary"), "{place} {part}: {said}");
    };
    let tls = |cert: &Path, key: &Path| json!({"tls": {"cert_file": cert, "key_file": key}});
    check(tls(&signed.chain, &signed.key), "ok: ", "");
    check(tls(Path::new("/nowhere.pem"), &signed.key), "tls.cert_file: ", "/nowhere.pem cannot be read");
    check(tls(&torn, &signed.key), "tls.cert_file: ", "PEM");
    check(tls(&signed.chain, &other.key), "tls.key_file: ", "the key is not that of the certificate");
    check(tls(&signed.chain, &signed.chain), "tls.key_file: ", "no private key in PEM");
    let mut clients = tls(&signed.chain, &signed.key);
    clients["tls"]["client_auth"] = json!("optional");
    check(clients.clone(), "tls.client_auth: ", "needs client_ca_file");
    clients["tls"]["client_ca_file"] = json!(torn);
    check(clients, "tls.client_ca_file: ", "PEM");
    let provider = |more: Value| {
        let mut provider = json!({"id": "own", "kind": "openai-compatible", "base_url": "https://own.example/v1"});
        for (name, value) in more.as_object().expect("members") {
            provider[name] = value.clone();
        }
        json!({"providers": [provider]})
    };
    let place = "providers[0].tls";
    check(provider(json!({"tls": {"ca_file": authority.file()}})), "ok: ", "");
    check(provider(json!({"tls": {"ca_file": torn}})), &format!("{place}.ca_file: "), "PEM");
    check(provider(json!({"tls": {"client_cert_file": signed.chain}})), place, "must be given together");
    let mismatched = json!({"tls": {"client_cert_file": signed.chain, "client_key_file": other.key}});
    check(provider(mismatched), &format!("{place}.client_cert_file: "), "the key is not that of the certificate");
    check(provider(json!({"tls": {"server_name": "not a name"}})), &format!("{place}.server_name: "), "no host name");
    check(provider(json!({"proxy": "https://proxy.example"})), "providers[0].proxy: ", "no http://host:port");
    check(provider(json!({"tls": {"insecure_skip_verify": true}})), place, "unknown field");
}

/// TLS in front of a scripted provider; with `clients`, only for those who show a certificate of theirs.
async fn in_front(of: &Upstream, shows: &Signed, clients: Option<&Authority>) -> u16 {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients)), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&shows.chain).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(&shows.key).expect("a key");
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a pair")));
    let inner = of.root().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = listener.into_std().expect("a listener");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, inner) = (acceptor.clone(), inner.clone());
                tasks.spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(&inner).await.expect("the provider");
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
    });
    port
}

/// A proxy that serves `CONNECT`; what it was asked.
async fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = listener.into_std().expect("a listener");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((mut outside, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tasks.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = outside.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    noted.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                    let Ok(mut inside) = TcpStream::connect(&target).await else { return };
                    let _ = outside.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await;
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
    });
    (port, heard)
}

/// A house with one provider that is reached as `more` says, called once: its status, and what it has said.
async fn called(port: u16, scheme: &str, more: Value, egress: Value) -> (u16, String) {
    let world = Setup::new()
        .with(|config| {
            let mut own = json!({
                "id": "own", "kind": "openai-compatible", "base_url": format!("{scheme}://127.0.0.1:{port}/v1"),
                "api_key": {"env": "FIRST_KEY"},
            });
            for (name, value) in more.as_object().expect("members") {
                own[name] = value.clone();
            }
            config["providers"] = json!([own]);
            config["prices"]["own/m"] = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
            config["models"].as_array_mut().expect("models").push(json!({"id": "own", "targets": ["own/m"]}));
            if !egress.is_null() {
                config["egress"] = egress;
            }
        })
        .start()
        .await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("own")).await;
    world.assert_balanced(&tenant).await;
    (answer.status, world.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_believed_by_its_own_authority_and_shown_our_certificate() {
    let (authority, ours, upstream) = (Authority::new(), Authority::new(), Upstream::start());
    let client = ours.sign("alfred");
    let open = in_front(&upstream, &authority.sign("127.0.0.1"), None).await;
    let named = in_front(&upstream, &authority.sign("models.internal"), None).await;
    let closed = in_front(&upstream, &authority.sign("127.0.0.1"), Some(&ours)).await;
    let ca = authority.file();
    let shown = json!({"ca_file": ca, "client_cert_file": client.chain, "client_key_file": client.key});
    let rows = [
        ("an authority that nobody knows", open, json!({}), false),
        ("its own authority", open, json!({"tls": {"ca_file": ca}}), true),
        ("another authority", open, json!({"tls": {"ca_file": ours.file()}}), false),
        ("another name", named, json!({"tls": {"ca_file": ca}}), false),
        ("the name it is to have", named, json!({"tls": {"ca_file": ca, "server_name": "models.internal"}}), true),
        ("no certificate of ours", closed, json!({"tls": {"ca_file": ca}}), false),
        ("our certificate", closed, json!({"tls": shown}), true),
    ];
    for (name, port, more, good) in rows {
        let before = upstream.count();
        let (status, log) = called(port, "https", more, Value::Null).await;
        assert_eq!(status == 200, good, "{name}: {status}\n{log}");
        assert_eq!(upstream.count() - before, usize::from(good), "{name}: the provider was asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_reached_through_the_proxy_that_is_configured_and_no_other() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let plain: u16 = upstream.root().rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
    let secure = in_front(&upstream, &authority.sign("127.0.0.1"), None).await;
    let (port, heard) = proxy().await;
    let address = format!("http://127.0.0.1:{port}");
    let password = json!({"address": address, "username": "me", "password": {"env": "SECOND_KEY"}});
    let tls = json!({"ca_file": authority.file()});
    let rows = [
        ("of all", plain, "http", json!({}), json!({"proxy": address}), true),
        ("of all, and TLS inside", secure, "https", json!({"tls": tls}), json!({"proxy": address}), true),
        ("its own, which asks who calls", plain, "http", json!({"proxy": password}), Value::Null, true),
        (
            "of all but this host",
            plain,
            "http",
            json!({}),
            json!({"proxy": address, "no_proxy": ["127.0.0.0/8"]}),
            false,
        ),
        ("none", plain, "http", json!({}), Value::Null, false),
    ];
    for (name, target, scheme, more, egress, proxied) in rows {
        heard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (status, log) = called(target, scheme, more, egress).await;
        assert_eq!(status, 200, "{name}:\n{log}");
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(
            heard.iter().any(|it| it.starts_with(&format!("CONNECT 127.0.0.1:{target} "))),
            proxied,
            "{name}: {heard:?}"
        );
        // "me:second-provider-canary-key"
        let shown = heard.iter().any(|it| it.to_lowercase().contains("proxy-authorization: basic "));
        assert_eq!(shown, name.contains("who calls"), "{name}");
        assert!(!log.contains("canary"), "{name}");
    }
    // A proxy that is not there is a provider that cannot be reached.
    let (status, _) =
        called(plain, "http", json!({"proxy": format!("http://127.0.0.1:{}", free_port())}), Value::Null).await;
    assert!([502, 503].contains(&status), "{status}");
}
