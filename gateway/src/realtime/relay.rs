//! Carries events both ways, one at a time: whoever is slow holds the other back, and nothing queues up here.
//! Whatever ends a conversation, its running responses are stopped, waited for a moment, and settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use providers::{ProviderError, RealtimeTold as Told, Socket};
use tokio::time::timeout;

use super::Session;
use super::events::{Cleared, LeadsTo, cancel, error_event, error_of, event_id};
use super::money::Turn;
use crate::app::App;
use crate::case::Ending;
use crate::refusal::Refusal;

/// OpenAI ends a conversation after so long, too.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// A conversation in which nobody says anything for so long is over.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// A client that takes nothing for so long, or from which nothing is heard, pings answered included, is gone.
const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(90);
/// What is held for a response is given back when nothing has happened for so long that could begin one.
const UNWANTED: Duration = Duration::from_secs(30);
/// How long responses that were told to stop may take to say what they are billed.
const LAST_WORD: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(5);
/// No more than this at once: each is held for.
const MOST_AT_ONCE: usize = 8;

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const UNREADABLE: u16 = 1003;
const POLICY: u16 = 1008;
const FAULT: u16 = 1011;

/// The conversation is coming to its end.
struct Closing {
    ending: Ending,
    code: u16,
    by: Instant,
    /// There is somebody to tell.
    tell: bool,
}

struct Relay {
    session: Session,
    app: Arc<App>,
    client: WebSocket,
    upstream: Socket,
    running: Vec<Turn>,
    closing: Option<Closing>,
    /// When each side was last heard: the client at all, anybody with something to say, the provider.
    client_at: Instant,
    said_at: Instant,
    told_at: Instant,
    pinged_at: Instant,
    /// The provider has hung up.
    gone: bool,
}

/// Relays until one side leaves, time or money is over, or the house closes.
pub async fn relay(session: Session, client: WebSocket, upstream: Socket) {
    let app = Arc::clone(&session.app);
    let now = Instant::now();
    let mut relay = Relay {
        session,
        app,
        client,
        upstream,
        running: Vec::new(),
        closing: None,
        client_at: now,
        said_at: now,
        told_at: now,
        pinged_at: now,
        gone: false,
    };
    relay.capped().await;
    relay.go_on().await;
    relay.end().await;
}

impl Relay {
    /// What policy caps answers at stands for those that no event of the client's asks for, too.
    async fn capped(&mut self) {
        let Some(allowed) = self.session.governed() else { return };
        let event =
            format!(r#"{{"type":"session.update","session":{{"type":"realtime","max_output_tokens":{allowed}}}}}"#);
        if let Err(error) = self.upstream.send(event.into()).await {
            self.broke(&error).await;
        }
    }

    async fn go_on(&mut self) {
        let (app, end) = (Arc::clone(&self.app), tokio::time::Instant::now() + LONGEST);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut draining, mut stopped) = (false, false);
        loop {
            if let Some(closing) = &self.closing {
                if self.running.is_empty() || self.gone || Instant::now() >= closing.by {
                    return;
                }
            } else if draining && self.running.is_empty() {
                self.close(Ending::ShutDown, GOING_AWAY).await;
                continue;
            }
            let by = self.closing.as_ref().map_or(end, |it| tokio::time::Instant::from_std(it.by));
            tokio::select! {
                told = self.upstream.next() => match told {
                    Some(Ok(event)) => self.told(event).await,
                    Some(Err(error)) => self.broke(&error).await,
                    None => self.broke(&ProviderError::broken("the provider ended the conversation")).await,
                },
                heard = self.client.recv(), if self.closing.is_none() => self.heard(heard).await,
                () = tokio::time::sleep_until(by) => {
                    if self.closing.is_none() {
                        let message = "The conversation has reached its maximum length of 60 minutes.";
                        self.tell(error_of("invalid_request_error", "session_expired", message)).await;
                        self.close(Ending::DeadlinePassed, GOING_AWAY).await;
                    }
                }
                () = app.stopping.cancelled(), if !draining => draining = true,
                () = app.stop_now.cancelled(), if !stopped => {
                    stopped = true;
                    self.close(Ending::ShutDown, GOING_AWAY).await;
                    if let Some(closing) = &mut self.closing {
                        closing.by = closing.by.min(Instant::now() + Duration::from_secs(1));
                    }
                }
                _ = tick.tick() => self.look_around().await,
            }
        }
    }

    /// An event of the client's, or its end.
    async fn heard(&mut self, heard: Option<Result<Message, axum::Error>>) {
        self.client_at = Instant::now();
        match heard {
            Some(Ok(Message::Text(text))) => {
                self.said_at = Instant::now();
                self.asked(text.into()).await;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                self.tell(error_of("invalid_request_error", "invalid_value", "Events are texts.")).await;
                self.close(Ending::ClientLeft, UNREADABLE).await;
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => self.left().await,
        }
    }

    async fn asked(&mut self, text: Bytes) {
        let asked = text.clone();
        let Cleared { event, leads_to } = match self.session.clear(text).await {
            Ok(cleared) => cleared,
            Err(refusal) => return self.tell(error_event(&refusal, event_id(&asked).as_deref())).await,
        };
        let held = match leads_to {
            LeadsTo::Nothing => Ok(()),
            LeadsTo::Response if self.running.len() >= MOST_AT_ONCE => Err(Refusal::Overloaded),
            LeadsTo::Response => self.session.hold_for(true).await,
            LeadsTo::Speech => self.session.hold_for(false).await,
        };
        match held {
            Ok(()) => {}
            // Asked for by name it can be asked for again.
            Err(refusal @ (Refusal::RateLimited { .. } | Refusal::Overloaded)) if leads_to == LeadsTo::Response => {
                return self.tell(error_event(&refusal, event_id(&asked).as_deref())).await;
            }
            Err(refusal) => return self.refused(&refusal).await,
        }
        if let Err(error) = self.upstream.send(event).await {
            self.broke(&error).await;
        }
    }

    /// An event of the provider's.
    async fn told(&mut self, event: Bytes) {
        (self.told_at, self.said_at) = (Instant::now(), Instant::now());
        let Ok(text) = Utf8Bytes::try_from(event) else { return };
        match Told::read(&text) {
            Told::Session(formats) => self.session.context.formats = formats,
            Told::Created { response } => match self.session.begin(response.clone()).await {
                Ok(turn) => self.running.push(turn),
                Err(refusal) => {
                    let _ = self.upstream.send(cancel(&response)).await;
                    return self.refused(&refusal).await;
                }
            },
            Told::Delta { response, text: said, sound } => {
                let app = Arc::clone(&self.app);
                if self.closing.is_none()
                    && let Some(turn) = self.turn(&response)
                    && !turn.heard(&app, said, sound).await
                {
                    let note = turn.note();
                    return self.out_of_money(&note).await;
                }
            }
            Told::Done { response, usage } => {
                let found = self.running.iter().position(|it| it.id == response);
                if let Some(at) = found {
                    let turn = self.running.remove(at);
                    let ending = self.closing.as_ref().map_or(Ending::Finished, |it| it.ending);
                    // Told when it is durable.
                    self.session.settle(turn, usage, ending).await;
                }
            }
            Told::Failed | Told::Other => {}
        }
        self.send(Message::Text(text)).await;
    }

    fn turn(&mut self, response: &str) -> Option<&mut Turn> {
        let only = self.running.len() == 1 && response.is_empty();
        self.running.iter_mut().find(|it| only || it.id == response)
    }

    /// What is in order on a quiet day.
    async fn look_around(&mut self) {
        if self.closing.is_some() {
            return;
        }
        let total = self.session.case.total;
        let idle = self.app.deadlines.idle();
        if self.client_at.elapsed() > SILENCE {
            return self.left().await;
        }
        if self.running.iter().any(|it| it.began.elapsed() > total) {
            return self.close(Ending::DeadlinePassed, FAULT).await;
        }
        if !self.running.is_empty() && self.told_at.elapsed() > idle {
            return self.broke(&ProviderError::broken("the provider stopped answering")).await;
        }
        if self.running.is_empty() && self.said_at.elapsed() > IDLE {
            self.tell(error_of("invalid_request_error", "session_expired", "Nobody has said anything for long.")).await;
            return self.close(Ending::DeadlinePassed, NORMAL).await;
        }
        let unwanted = |it: &super::Purse| it.wanted_at.elapsed() > UNWANTED || it.made_at.elapsed() > total;
        if let Some(purse) = self.session.ready.take_if(|it| unwanted(it)) {
            self.session.give_back(purse, Ending::Unused).await;
        }
        if self.pinged_at.elapsed() > PATIENCE {
            self.pinged_at = Instant::now();
            self.send(Message::Ping(Bytes::new())).await;
        }
    }

    /// A response may not begin: no money, no key any more, or no rule that allows it.
    async fn refused(&mut self, refusal: &Refusal) {
        self.tell(error_event(refusal, None)).await;
        let ending = match refusal {
            Refusal::OverBudget(_) | Refusal::Suspended { .. } | Refusal::Closed { .. } => Ending::OutOfMoney,
            _ => Ending::Refused,
        };
        self.close(ending, if refusal.status().is_server_error() { FAULT } else { POLICY }).await;
    }

    /// A response may not go on.
    async fn out_of_money(&mut self, note: &str) {
        let note: serde_json::Value = serde_json::from_str(note).unwrap_or_default();
        let (code, message) = (note["note"].as_str().unwrap_or_default(), note["message"].as_str().unwrap_or_default());
        let kind = if code == "budget_exceeded" { "insufficient_quota" } else { "api_error" };
        self.tell(error_of(kind, code, message)).await;
        self.close(Ending::OutOfMoney, POLICY).await;
    }

    async fn broke(&mut self, error: &ProviderError) {
        self.gone = true;
        tracing::debug!(class = error.class.as_str(), "a conversation with a provider ended");
        if self.closing.is_none() && !self.running.is_empty() {
            self.tell(error_of("api_error", "provider_error", "The provider ended the conversation.")).await;
        }
        let code = if self.running.is_empty() { NORMAL } else { FAULT };
        self.close(Ending::UpstreamBroke, code).await;
    }

    async fn left(&mut self) {
        self.close(Ending::ClientLeft, NORMAL).await;
        if let Some(closing) = &mut self.closing {
            closing.tell = false;
        }
    }

    /// Begins the end: nothing more is heard, and what runs is told to stop.
    async fn close(&mut self, ending: Ending, code: u16) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(Closing { ending, code, by: Instant::now() + LAST_WORD, tell: true });
        if self.gone {
            return;
        }
        let running: Vec<Bytes> = self.running.iter().map(|turn| cancel(&turn.id)).collect();
        for event in running {
            if self.upstream.send(event).await.is_err() {
                self.gone = true;
                return;
            }
        }
    }

    async fn tell(&mut self, event: String) {
        self.send(Message::Text(event.into())).await;
    }

    async fn send(&mut self, message: Message) {
        if self.closing.as_ref().is_some_and(|it| !it.tell) {
            return;
        }
        if !matches!(timeout(PATIENCE, self.client.send(message)).await, Ok(Ok(()))) {
            // Begun before, the end stays what it is.
            self.left().await;
            if let Some(closing) = &mut self.closing {
                closing.tell = false;
            }
        }
    }

    /// Settles what did not say its last word, gives back what was not needed, and says goodbye.
    async fn end(mut self) {
        let closing = self.closing.take();
        let (ending, code, tell) =
            closing.map_or((Ending::ClientLeft, NORMAL, false), |it| (it.ending, it.code, it.tell));
        for turn in std::mem::take(&mut self.running) {
            self.session.settle(turn, None, ending).await;
        }
        if let Some(purse) = self.session.ready.take() {
            self.session.give_back(purse, Ending::Unused).await;
        }
        if tell {
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
            let _ = timeout(Duration::from_secs(1), self.client.send(Message::Close(Some(frame)))).await;
        }
        if !self.gone {
            self.upstream.close().await;
        }
    }
}
