//! Puts the filter's questions to the world: in parallel, each under its own deadline.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DNS_BUDGET, Driver, MESSAGE_AUTH_BUDGET, STORE_BUDGET, Transaction};
use crate::auth::{self, MessageAuth, SpfOutcome, SpfQuery};
use crate::checks::{AttachmentSettings, ContentSettings, auth as auth_check, greylist, helo};
use crate::content::{Inspection, Report, Structure};
use crate::dns::{DnsFault, HeloResolution, helo_at_hand, resolve_helo};
use crate::facts::Facts;
use crate::filter::{Fault, Known, Needs, Slot};
use crate::patience::within;
use crate::store::{Answer, Attempt, Timestamp};
use crate::telemetry::metrics::{self, Lookup, LookupResult};

/// Longest time for which the DNS is not asked again, whatever it says itself.
const LONGEST: Duration = Duration::from_secs(3_600);

impl Driver {
    /// Fills the slots of everything asked. Each ends as an answer or as unknown.
    pub(super) async fn fetch(&self, needs: &mut Needs, facts: &Facts, transaction: &mut Transaction) {
        // The filter asks it last, when it has all other answers.
        if let Some(attempt) = needs.greylist.take() {
            let made = self.clock.now();
            let attempt = transaction.known.attempt.insert(attempt);
            transaction.known.greylist = self.greylist(attempt, made).await;
            if self.is_live {
                self.watch_for_late_spf(made, facts, transaction);
            }
        }
        if !self.take_at_hand(needs, facts, transaction) {
            // Apart, as a connection's task has room for all that it may have to wait for, and mostly waits for nothing.
            Box::pin(self.look_up(needs, facts, transaction)).await;
        }
    }

    /// Takes answers for which nobody has to be asked, nor anything waited for; whether that is all of them.
    fn take_at_hand(&self, needs: &mut Needs, facts: &Facts, transaction: &mut Transaction) -> bool {
        let known = &mut transaction.known;
        if needs.helo
            && let Some(resolution) = self.helo_at_hand(facts, known)
        {
            needs.helo = false;
            known.helo = self.got(Lookup::HeloDns, resolution);
        }
        if needs.spf
            && let Some(outcome) = self.spf_at_hand(facts)
        {
            needs.spf = false;
            known.spf = self.got(Lookup::Spf, outcome);
        }
        needs.is_empty()
    }

    /// What the DNS says of the HELO name, where that is known already.
    pub(super) fn helo_at_hand(&self, facts: &Facts, known: &Known) -> Option<HeloResolution> {
        helo_at_hand(&*self.resolver, helo::name(facts, known)?).map(|(resolution, _)| resolution)
    }

    /// What SPF says, where nobody has to be waited for.
    pub(super) fn spf_at_hand(&self, facts: &Facts) -> Option<SpfOutcome> {
        let (client, sender) = (facts.connection.client.ip()?, facts.sender.as_ref()?);
        self.spf.at_hand(client, sender, facts.helo.as_deref().unwrap_or_default(), &*self.resolver)
    }

    /// How long what is known of the HELO name and of SPF is what the DNS says of them, an hour at most. `None` where it does not say
    /// so at once.
    pub(super) fn dns_holds(&self, facts: &Facts, known: &Known) -> Option<Duration> {
        let mut holds = LONGEST;
        match &known.helo {
            Slot::NotAsked => {}
            Slot::Got(resolution, _) => {
                let (found, left) = helo_at_hand(&*self.resolver, helo::name(facts, known)?)?;
                holds = (found == *resolution).then_some(holds.min(left))?;
            }
            Slot::Unknown(..) => return None,
        }
        match &known.spf {
            Slot::NotAsked => Some(holds),
            Slot::Got(outcome, _) => {
                let client = facts.connection.client.ip()?;
                Some(holds.min(self.spf.holds(outcome, client, &*self.resolver)?))
            }
            Slot::Unknown(..) => None,
        }
    }

    fn got<T>(&self, lookup: Lookup, answer: T) -> Slot<T> {
        if self.is_live {
            metrics::lookup(lookup, LookupResult::Got, Duration::ZERO);
        }
        Slot::Got(answer, Duration::ZERO)
    }

    /// Asks all that is asked but the greylist, at once. Each question has its room when it is asked: mostly one of them is.
    async fn look_up(&self, needs: &Needs, facts: &Facts, transaction: &mut Transaction) {
        let Needs { helo, spf, message_auth, greylist: _, inspection, scan } = needs;
        let name = helo::name(facts, &transaction.known).filter(|_| *helo).map(str::to_owned);
        let query = if *spf { auth_check::spf_query(facts) } else { None };
        let is_read = inspection.is_some() || scan.is_some();
        let message = facts.message.as_ref().filter(|_| is_read);
        let structure = message.map(|message| Arc::new(Structure::of(message.clone())));
        tokio::join!(
            async {
                if let Some(name) = &name {
                    transaction.known.helo = Box::pin(self.helo(name)).await;
                }
            },
            async {
                if let Some(query) = &query {
                    transaction.known.spf = Box::pin(self.spf(query)).await;
                }
            },
            async {
                if let Some(spf) = message_auth {
                    transaction.known.message_auth = Box::pin(self.message_auth(facts, spf)).await;
                }
            },
            async {
                if let Some(settings) = inspection {
                    let slot = Box::pin(self.inspection(facts, structure.as_ref(), settings)).await;
                    transaction.known.inspections.push((Arc::clone(settings), slot));
                }
            },
            async {
                if let Some(settings) = scan {
                    let slot = Box::pin(self.scan(facts, structure.as_ref(), settings)).await;
                    transaction.known.scans.push((Arc::clone(settings), slot));
                }
            },
        );
    }

    /// Sees to it that an attempt recorded without the SPF identity gets it when SPF answers after all.
    fn watch_for_late_spf(&self, made: Timestamp, facts: &Facts, transaction: &mut Transaction) {
        let Transaction { policy, known, late_spf, .. } = transaction;
        let settings = &known.settings(facts, policy).greylist;
        let Some(query) = greylist::late_spf(facts, settings, known) else { return };
        if late_spf.is_none() {
            *late_spf = self.late_spf.go_on(query, Arc::clone(&self.resolver), Arc::clone(&self.store));
        }
        if let (Some(mail), Some(attempt)) = (late_spf, &known.attempt) {
            mail.add(attempt, made);
        }
    }

    async fn helo(&self, name: &str) -> Slot<HeloResolution> {
        let resolution = pin!(async {
            resolve_helo(&*self.resolver, name).await.map_err(|fault| match fault {
                DnsFault::Timeout => Fault::Timeout,
                other => Fault::Failed(other.to_string()),
            })
        });
        self.timed(Lookup::HeloDns, DNS_BUDGET, resolution).await
    }

    async fn spf(&self, query: &SpfQuery) -> Slot<SpfOutcome> {
        let outcome = pin!(async { Ok(self.spf.ask(query, &*self.resolver).await) });
        self.timed(Lookup::Spf, DNS_BUDGET, outcome).await
    }

    async fn message_auth(&self, facts: &Facts, spf: &SpfOutcome) -> Slot<Arc<MessageAuth>> {
        let Some(message) = &facts.message else {
            return Slot::Unknown(Fault::Failed("there is no message to check".into()), Duration::ZERO);
        };
        let checked = pin!(async {
            let checked = auth::message(message, spf, &self.resolver).await;
            checked.map(Arc::new).map_err(|fault| Fault::Failed(fault.to_string()))
        });
        self.timed(Lookup::MessageAuth, MESSAGE_AUTH_BUDGET, checked).await
    }

    async fn greylist(&self, attempt: &Attempt, now: Timestamp) -> Slot<Answer> {
        let answer = pin!(async {
            if !self.is_live {
                return self.store.peek(attempt, now).await.map_err(|fault| Fault::Failed(fault.to_string()));
            }
            let answer = self.store.attempt(attempt, now).await;
            let answer = answer.map_err(|fault| Fault::Failed(fault.to_string()))?;
            metrics::greylist(&answer);
            Ok(answer)
        });
        self.timed(Lookup::Greylist, STORE_BUDGET, answer).await
    }

    async fn inspection(
        &self,
        facts: &Facts,
        structure: Option<&Arc<Structure>>,
        settings: &Arc<ContentSettings>,
    ) -> Slot<Arc<Inspection>> {
        let Some(structure) = structure else {
            return Slot::Unknown(Fault::Failed("there is no message to read".into()), Duration::ZERO);
        };
        let (client, budget) = (facts.connection.client, settings.time_limit);
        let inspect = pin!(self.scanner.inspect(client, structure, Arc::clone(settings), budget));
        self.timed(Lookup::Inspection, Duration::MAX, inspect).await
    }

    async fn scan(
        &self,
        facts: &Facts,
        structure: Option<&Arc<Structure>>,
        settings: &Arc<AttachmentSettings>,
    ) -> Slot<Arc<Report>> {
        let Some(structure) = structure else {
            return Slot::Unknown(Fault::Failed("there is no message to scan".into()), Duration::ZERO);
        };
        if self.is_live {
            metrics::scanned_bytes(structure.message().len() as u64);
        }
        let (client, budget) = (facts.connection.client, settings.scan_time_limit);
        let scan = pin!(self.scanner.scan(client, structure, Arc::clone(settings), budget));
        self.timed(Lookup::Scan, Duration::MAX, scan).await
    }

    /// The answer, if it comes in time. It is lent, as a future that is moved takes its room twice.
    async fn timed<T>(
        &self,
        lookup: Lookup,
        budget: Duration,
        answer: Pin<&mut impl Future<Output = Result<T, Fault>>>,
    ) -> Slot<T> {
        let began = Instant::now();
        let result = within(budget, answer).await.unwrap_or(Err(Fault::Timeout));
        let took = began.elapsed();
        if self.is_live {
            let shown = result.as_ref().map_or_else(LookupResult::from, |_| LookupResult::Got);
            metrics::lookup(lookup, shown, took);
        }
        match result {
            Ok(answer) => Slot::Got(answer, took),
            Err(fault) => Slot::Unknown(fault, took),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SpfIdentity, SpfResult};
    use crate::driver::Protocol;

    /// Bytes of a question with all that it waits for: each mail asks several.
    const LITTLE_ROOM: usize = 1_024;

    #[test]
    fn questions_are_asked_in_little_room() {
        let (driver, facts, needs) = (Driver::accepting(), Facts::default(), Needs::default());
        let mut transaction = driver.begin(Protocol::Milter);
        let spf = SpfOutcome {
            result: SpfResult::None,
            identity: SpfIdentity::MailFrom,
            domain: "sender.test".into(),
            passes_anyone: false,
        };
        let (content, attachments) = (Arc::default(), Arc::default());
        for (question, size) in [
            ("all", size_of_val(&driver.look_up(&needs, &facts, &mut transaction))),
            ("HELO", size_of_val(&driver.helo("mx.sender.test"))),
            ("message authentication", size_of_val(&driver.message_auth(&facts, &spf))),
            ("content", size_of_val(&driver.inspection(&facts, None, &content))),
            ("attachments", size_of_val(&driver.scan(&facts, None, &attachments))),
        ] {
            assert!(size <= LITTLE_ROOM, "{question}: {size} bytes");
        }
    }
}
