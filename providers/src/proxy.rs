//! The proxy between us and the providers: everything goes through its `CONNECT`, so it sees names and no content.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use url::Url;
use zeroize::Zeroizing;

use crate::config::{EgressConfig, Fault, ProviderConfig, ProxyConfig};
use crate::credentials::{LiveKey, Secret, Sources};

/// A proxy, and who is reached without it.
pub(crate) struct Proxy {
    pub address: Uri,
    username: Option<String>,
    password: Option<Arc<LiveKey>>,
    except: Vec<Exception>,
}

enum Exception {
    All,
    Network(IpAddr, u8),
    /// This name and all below it.
    Name(String),
}

impl Proxy {
    /// As it is configured for the provider at `path`.
    pub(crate) fn build(
        path: &str,
        config: &ProxyConfig,
        provider: &str,
        sources: &mut Sources<'_>,
    ) -> Result<Proxy, Vec<Fault>> {
        let (path, beside) = match config.common {
            true => ("egress.proxy".to_owned(), "egress.no_proxy".to_owned()),
            false => (format!("{path}.proxy"), format!("{path}.proxy.no_proxy")),
        };
        let address = address(&config.address).map_err(|why| vec![Fault::new(&*path, format!("the address {why}"))])?;
        let (address, None, None) = address else {
            let why = "the address must hold no user and no password: they go into username and password";
            return Err(vec![Fault::new(path, why)]);
        };
        let except = config.no_proxy.iter().map(|name| {
            exception(name)
                .ok_or_else(|| vec![Fault::new(&*beside, format!("{name:?} is no host, address or network"))])
        });
        let except = except.collect::<Result<Vec<Exception>, _>>()?;
        let password = match (&config.username, &config.password, &config.told) {
            (None, Some(_), _) => {
                return Err(vec![Fault::new(format!("{path}.username"), "is missing beside password")]);
            }
            (_, Some(source), _) => {
                Some(sources.text(provider, &format!("{path}.password"), source).map_err(|fault| vec![fault])?)
            }
            (_, None, Some(told)) => Some(Arc::new(LiveKey::new(told.clone()))),
            (_, None, None) => None,
        };
        Ok(Proxy { address, username: config.username.clone(), password, except })
    }

    /// Whether this host is reached through it.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let ip: Option<IpAddr> = host.parse().ok();
        !self.except.iter().any(|it| match (it, ip) {
            (Exception::All, _) => true,
            (Exception::Network(network, bits), Some(ip)) => within(ip, *network, *bits),
            (Exception::Name(name), None) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        })
    }

    /// What it is shown; an error while its password is not known.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, &'static str> {
        let Some(username) = &self.username else { return Ok(None) };
        let password = match &self.password {
            None => None,
            Some(key) => Some(key.get().ok_or("the password of the proxy is not known at present")?),
        };
        let password = password.as_ref().map_or("", |it| it.expose());
        let plain = Zeroizing::new(format!("{username}:{password}"));
        let packed = Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())));
        let mut value = HeaderValue::from_str(&packed).map_err(|_| "the password of the proxy cannot be shown")?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl EgressConfig {
    /// Gives the proxy of all to those that name none of their own.
    ///
    /// # Errors
    /// It is said in two ways, or what the environment says is no proxy.
    pub fn give_to(&self, providers: &mut [ProviderConfig], env: &dyn Fn(&str) -> Option<String>) -> Result<(), Fault> {
        let Some(common) = self.common(env)? else { return Ok(()) };
        for provider in providers.iter_mut().filter(|it| it.proxy.is_none()) {
            provider.proxy = Some(common.clone());
        }
        Ok(())
    }

    fn common(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<ProxyConfig>, Fault> {
        if !self.from_environment {
            let no_proxy = self.no_proxy.clone();
            return Ok(self.proxy.clone().map(|it| ProxyConfig { no_proxy, common: true, ..it }));
        }
        let fault = |why: String| Fault::new("egress.from_environment", why);
        if self.proxy.is_some() || !self.no_proxy.is_empty() {
            return Err(fault("takes the place of proxy and no_proxy: give either".to_owned()));
        }
        let say = |name: &str| env(name).or_else(|| env(&name.to_lowercase())).filter(|it| !it.trim().is_empty());
        let Some(text) = say("HTTPS_PROXY") else { return Ok(None) };
        // In a variable the password stands in the address: that is how it is written there.
        let (address, username, told) = address(&text).map_err(|why| fault(format!("HTTPS_PROXY {why}")))?;
        let listed = say("NO_PROXY").unwrap_or_default();
        let no_proxy = listed.split([',', ' ']).map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let address = address.to_string();
        Ok(Some(ProxyConfig { address, username, password: None, no_proxy, told, common: true }))
    }
}

/// Where it listens, and who it says is calling.
fn address(text: &str) -> Result<(Uri, Option<String>, Option<Secret>), String> {
    let wrong = || "is no http://host:port".to_owned();
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    if url.scheme() != "http" || !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(wrong());
    }
    let host = url.host_str().ok_or_else(wrong)?;
    let address = format!("http://{host}:{}", url.port_or_known_default().unwrap_or(80));
    let decoded = |it: &str| {
        let pair = format!("x={}", it.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, text)| text.into_owned())
    };
    let username = Some(url.username()).filter(|it| !it.is_empty()).and_then(decoded);
    let password = url.password().and_then(decoded).map(Secret::new);
    Ok((address.parse().map_err(|_| wrong())?, username, password))
}

fn exception(text: &str) -> Option<Exception> {
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits): (IpAddr, u8) = (network.parse().ok()?, bits.parse().ok()?);
        let most = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Exception::Network(network, bits));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Exception::Network(ip, if ip.is_ipv4() { 32 } else { 128 }));
    }
    let name = text.trim_start_matches("*.").trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_name.then_some(Exception::Name(name))
}

fn within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shared = match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    shared >= u32::from(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(egress: &str, variables: &[(&str, &str)]) -> Result<Proxy, String> {
        let env = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, text)| (*text).to_owned());
        let egress: EgressConfig = serde_yaml_ng::from_str(egress).map_err(|e| e.to_string())?;
        let common = egress.common(&env).map_err(|e| e.to_string())?.ok_or("there is none")?;
        let faults = |faults: Vec<Fault>| faults[0].to_string();
        Proxy::build("providers[0]", &common, "openai", &mut Sources::new(&env)).map_err(faults)
    }

    fn proxy(except: &[&str]) -> Proxy {
        built(&format!("{{ proxy: \"http://proxy.example:3128\", no_proxy: {except:?} }}"), &[]).unwrap()
    }

    #[test]
    fn who_is_excepted_is_reached_without_the_proxy() {
        let check = |except: &[&str], host: &str, covered: bool| {
            let uri: Uri = format!("https://{host}/v1").parse().unwrap();
            assert_eq!(proxy(except).covers(&uri), covered, "{except:?} {host}");
        };
        check(&[], "api.openai.com", true);
        check(&["*"], "api.openai.com", false);
        check(&["internal.example"], "internal.example", false);
        check(&["internal.example"], "models.INTERNAL.example:8443", false);
        check(&["internal.example"], "notinternal.example", true);
        check(&[".internal.example"], "models.internal.example", false);
        check(&["*.internal.example"], "models.internal.example.", false);
        check(&["10.0.0.0/8"], "10.1.2.3:80", false);
        check(&["10.0.0.0/8"], "11.1.2.3", true);
        check(&["127.0.0.1"], "127.0.0.1:9", false);
        check(&["0.0.0.0/0"], "[::1]:9", true);
        check(&["fd00::/8"], "[fd00::1]", false);
        check(&["10.0.0.0/8"], "ten.example", true);
    }

    #[test]
    fn what_is_no_proxy_is_refused_at_its_place() {
        let check = |egress: &str, part: &str| {
            let error = built(egress, &[("HTTPS_PROXY", "socks5://x"), ("S", "pw")]).err().expect(egress);
            assert!(error.contains(part) && !error.contains("canary"), "{egress}: {error}");
        };
        for wrong in ["proxy:3128", "https://proxy:3128", "socks5://proxy", "http://proxy/path", "http://"] {
            check(&format!("proxy: \"{wrong}\""), "egress.proxy: ");
        }
        check("proxy: \"http://me:canary@proxy:3128\"", "username and password");
        check("proxy: { address: \"http://proxy\", password: { env: S } }", "egress.proxy.username");
        check(
            "proxy: { address: \"http://proxy\", username: a, password: { env: UNSET } }",
            "egress.proxy.password.env",
        );
        check("proxy: { address: \"http://proxy\", username: a, password: canary }", "must not stand");
        check("{ proxy: \"http://proxy\", no_proxy: [10.0.0.0/33] }", "egress.no_proxy: ");
        check("{ proxy: \"http://proxy\", no_proxy: [\"a b\"] }", "egress.no_proxy: ");
        check("{ proxy: \"http://proxy\", from_environment: true }", "give either");
        check("from_environment: true", "HTTPS_PROXY is no http://host:port");
    }

    #[test]
    fn the_environment_counts_only_where_it_is_asked_for() {
        let variables = [("https_proxy", "http://me:p%40ss+1@proxy:3128"), ("NO_PROXY", "a.example, 10.0.0.0/8")];
        assert_eq!(built("{}", &variables).err().as_deref(), Some("there is none"));
        let proxy = built("from_environment: true", &variables).unwrap();
        assert_eq!(proxy.address.to_string(), "http://proxy:3128/");
        assert!(!proxy.covers(&"https://b.a.example".parse().unwrap()));
        let shown = proxy.authorization().unwrap().unwrap();
        assert_eq!(shown.to_str().unwrap(), format!("Basic {}", STANDARD.encode("me:p@ss+1")));
        assert!(shown.is_sensitive());
    }
}
