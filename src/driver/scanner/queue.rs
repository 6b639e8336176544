//! Who is scanned next when more is waiting than threads are free: fair shares by bytes, not first come first served.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996). Each client has a clock of its own that advances by what its mails cost;
//! the client whose clock is furthest behind is next. So a client that sends a hundred large mails at once waits for its own, and
//! another's small one goes before all but those already being scanned.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use crate::facts::Client;

/// What any scan costs beside its bytes, in bytes, so that many small mails do not count for nothing.
const PRICE_OF_A_MAIL: u64 = 64 << 10;

/// Whose share a scan is charged to: a client's address, and a whole /64 of IPv6, as one host may use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sender(Client);

impl Sender {
    pub(super) const fn of(client: Client) -> Self {
        match client {
            Client::Ip(IpAddr::V6(address)) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
                Self(Client::Ip(IpAddr::V6(network)))
            }
            other => Self(other),
        }
    }
}

/// A place in the queue: when its turn is, then the order in which it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    begins: u64,
    number: u64,
}

/// What waits, and what each client with something waiting or under way has used.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    waiting: BTreeMap<Ticket, (Sender, T)>,
    clients: HashMap<Sender, Account>,
    /// The clock of the client served last.
    now: u64,
    tickets: u64,
}

/// The account of a client with something waiting or under way; closed when it has neither.
#[derive(Debug, Default)]
struct Account {
    /// Its clock when all it has sent is served.
    ends: u64,
    open: u32,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), clients: HashMap::new(), now: 0, tickets: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Puts `item`, which costs about `bytes`, behind everything else its sender has here.
    pub(super) fn push(&mut self, sender: Sender, bytes: u64, item: T) -> Ticket {
        let account = self.clients.entry(sender).or_default();
        let begins = self.now.max(account.ends);
        account.ends = begins.saturating_add(bytes).saturating_add(PRICE_OF_A_MAIL);
        account.open += 1;
        let ticket = Ticket { begins, number: self.tickets };
        self.tickets += 1;
        self.waiting.insert(ticket, (sender, item));
        ticket
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What is due. Its sender's account stays open until [`Self::done`].
    pub(super) fn pop(&mut self) -> Option<(Sender, T)> {
        let (ticket, due) = self.waiting.pop_first()?;
        self.now = ticket.begins;
        Some(due)
    }

    /// Takes back what nobody waits for any more, unless it was served already.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        if let Some((sender, _)) = self.waiting.remove(&ticket) {
            self.done(sender);
        }
    }

    /// Something of `sender` is served to its end.
    pub(super) fn done(&mut self, sender: Sender) {
        if let Some(account) = self.clients.get_mut(&sender) {
            account.open = account.open.saturating_sub(1);
            if account.open == 0 {
                self.clients.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(address: &str) -> Sender {
        Sender::of(Client::parse(address))
    }

    fn served(queue: &mut FairQueue<&'static str>) -> Vec<&'static str> {
        let mut order = Vec::new();
        while let Some((sender, item)) = queue.pop() {
            order.push(item);
            queue.done(sender);
        }
        order
    }

    #[test]
    fn one_client_is_served_in_the_order_of_its_mails() {
        let mut queue = FairQueue::default();
        for item in ["a", "b", "c"] {
            queue.push(sender("192.0.2.1"), 1, item);
        }
        assert_eq!(served(&mut queue), ["a", "b", "c"]);
        assert!(queue.clients.is_empty());
    }

    #[test]
    fn many_large_mails_wait_for_each_other_and_not_for_the_small_mails_of_others() {
        let mut queue = FairQueue::default();
        let (large, small) = (sender("192.0.2.1"), sender("192.0.2.2"));
        for item in ["large 1", "large 2", "large 3"] {
            queue.push(large, 10 << 20, item);
        }
        for item in ["small 1", "small 2", "small 3", "small 4"] {
            queue.push(small, 1 << 10, item);
        }
        let expected = ["large 1", "small 1", "small 2", "small 3", "small 4", "large 2", "large 3"];
        assert_eq!(served(&mut queue), expected);
    }

    #[test]
    fn shares_are_equal_in_bytes() {
        let mut queue = FairQueue::default();
        let (one, other) = (sender("192.0.2.1"), sender("192.0.2.2"));
        for _ in 0..100 {
            queue.push(one, 4 << 20, (one, 4));
            queue.push(other, 1 << 20, (other, 1));
        }
        let mut mebibytes = HashMap::from([(one, 0u32), (other, 0)]);
        for _ in 0..50 {
            let (_, (sender, size)) = queue.pop().unwrap();
            *mebibytes.get_mut(&sender).unwrap() += size;
        }
        // Both have mail left; they are apart by no more than one mail and what its price adds.
        assert!(mebibytes[&one].abs_diff(mebibytes[&other]) <= 8, "{mebibytes:?}");
    }

    #[test]
    fn a_client_that_comes_late_begins_at_the_present() {
        let mut queue = FairQueue::default();
        let (early, late) = (sender("192.0.2.1"), sender("192.0.2.2"));
        for _ in 0..4 {
            queue.push(early, 1 << 20, "early");
        }
        assert_eq!((queue.pop().unwrap().1, queue.pop().unwrap().1), ("early", "early"));
        for _ in 0..4 {
            queue.push(late, 1 << 20, "late");
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
        assert_eq!(order, ["late", "early", "late", "early", "late", "late"]);
    }

    #[test]
    fn what_nobody_waits_for_is_not_served() {
        let mut queue = FairQueue::default();
        let client = sender("192.0.2.1");
        let first = queue.push(client, 1, "first");
        queue.push(client, 1, "second");
        queue.remove(first);
        assert_eq!(served(&mut queue), ["second"]);
        queue.remove(first);
        assert!(queue.clients.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share() {
        assert_eq!(sender("2001:db8::1"), sender("2001:db8::ffff:2"));
        assert_ne!(sender("2001:db8::1"), sender("2001:db8:0:1::1"));
        assert_ne!(sender("192.0.2.1"), sender("192.0.2.2"));
        assert_eq!(sender("unknown"), Sender(Client::Unknown));
    }
}
