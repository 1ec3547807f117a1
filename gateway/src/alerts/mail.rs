//! Alerts by mail.

use std::time::{Duration, SystemTime};

use ledger::AlertRow;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Wanted, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use providers::Secret;
use serde::Deserialize;

use super::sink::{DEADLINE, sentence, title};

/// How the way to the mail server is kept secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Asked for after the greeting, and demanded (port 587).
    #[default]
    Starttls,
    /// From the first byte (port 465).
    Implicit,
    /// Not at all: on this machine only (port 25).
    None,
}

/// What a mailer is made of.
pub(super) struct Post {
    pub host: String,
    pub port: Option<u16>,
    pub tls: Tls,
    pub login: Option<(String, Secret)>,
    pub from: String,
    pub to: Vec<String>,
}

/// Sends to fixed people through one server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    /// Reads addresses and certificates; says which member is at fault.
    pub(super) fn new(post: Post) -> Result<Mailer, (String, String)> {
        let address = |text: &str, member: String| {
            text.parse::<Mailbox>().map_err(|_| (member, "is no address such as ops@example.com".to_owned()))
        };
        let from = address(&post.from, "from".into())?;
        let to = post.to.iter().enumerate().map(|(i, to)| address(to, format!("to[{i}]"))).collect::<Result<_, _>>()?;
        if post.tls == Tls::None && !is_this_machine(&post.host) {
            let message = "must not be none for a server on another machine: what is sent would be readable on the way";
            return Err(("tls".into(), message.into()));
        }
        let secured = || {
            TlsParameters::new(post.host.clone())
                .map_err(|_| ("host".to_owned(), "cannot be spoken to securely: no certificates to trust".to_owned()))
        };
        let (tls, port) = match post.tls {
            Tls::Starttls => (Wanted::Required(secured()?), 587),
            Tls::Implicit => (Wanted::Wrapper(secured()?), 465),
            Tls::None => (Wanted::None, 25),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&post.host)
            .tls(tls)
            .port(post.port.unwrap_or(port))
            .timeout(Some(DEADLINE));
        if let Some((user, password)) = post.login {
            builder = builder.credentials(Credentials::new(user, password.expose().to_owned()));
        }
        Ok(Mailer { transport: builder.build(), from, to })
    }

    /// Sends one mail to all.
    pub(super) async fn send(&self, sink: &str, alert: &AlertRow) -> Result<(), String> {
        let micros = u64::try_from(alert.at.micros()).unwrap_or(0);
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(format!("[alfred] {}", title(&alert.kind)))
            .date(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
            // The same at each attempt: a mail that came twice is seen to be one.
            .message_id(Some(format!("<{}.{sink}@alfred>", alert.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let text = format!("{}\r\n\r\nAlert {} of {}.\r\n", sentence(alert), alert.id, alert.at);
        let message = message.body(text).map_err(|_| "the mail cannot be written".to_owned())?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            // A server's words may hold addresses; its number says enough.
            Err(error) => Err(match error.status() {
                Some(code) => format!("answered {code}"),
                None if error.is_timeout() => "no answer in time".to_owned(),
                None if error.is_tls() => "no secure connection".to_owned(),
                None if error.is_client() => {
                    "the server does not take what is needed, such as STARTTLS or the login".to_owned()
                }
                None => "cannot connect, or the connection broke".to_owned(),
            }),
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
