//! Running clocks in memory: a bounded table that knows its oldest, and the oldest of each network.
//!
//! A clock is 56 bytes, wherever it stands in two lists: that of all clocks, and that of its network's account, each in the order in
//! which the clocks were begun. So the oldest can go without a search, and nothing is kept beside the clocks.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::key::{Key, NetworkKey};
use super::model::Clock;
use super::table::{KeyHasher, is_forgettable};
use super::timestamp::Timestamp;

/// The index grows part by part: each time a part of it is too small, so few entries are moved that nobody notices.
const PARTS: usize = 64;

/// Room of each part from the beginning, some 3 kB in all: to let so small ones grow takes longer than to fill them.
const FIRST_ROOM: usize = 7;

/// Counters of [`Totals`]: so many that few networks share one, in 512 kB.
const TOTALS: usize = 1 << 16;

/// Due clocks looked at for each one begun: more than one, so that sweeping outruns filling.
const SWEEP_STEPS: usize = 2;

/// How long a clock lasts is kept in these steps, rounded up.
const LASTS_STEP: Duration = Duration::from_secs(2 * 3600);

/// No clock, and no network.
const NONE: u32 = u32::MAX;

/// The key of a place that nobody has.
const VACANT: Key = Key::from_bytes([0; 16]);

/// Clocks by key, at most `capacity` of them.
#[derive(Debug)]
pub(super) struct Clocks {
    slots: Vec<Slot>,
    free: u32,
    index: Box<[HashTable<u32>]>,
    all: Ends,
    accounts: Accounts,
    totals: Arc<Totals>,
    len: usize,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    first_seen: Timestamp,
    /// The neighbours in the list of all.
    all: Links,
    /// The neighbours in the list of the network.
    of_network: Links,
    /// Where the account of the network stands.
    network: u32,
    lasts: u16,
    /// The part of the journal it stands in.
    tag: u16,
    /// Which of its network it is, in all tables.
    number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
}

impl Ends {
    const EMPTY: Self = Self { oldest: NONE, newest: NONE };
}

impl Clocks {
    /// A table for at most `capacity` clocks.
    pub(super) fn new(capacity: usize) -> Self {
        Self::counted_in(Arc::default(), capacity)
    }

    /// A table for at most `capacity` clocks, whose networks are counted in `totals` with those of other tables.
    pub(super) fn counted_in(totals: Arc<Totals>, capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            index: new_index(),
            all: Ends::EMPTY,
            accounts: Accounts::default(),
            totals,
            len: 0,
            capacity: capacity.clamp(1, NONE as usize - 1),
        }
    }

    /// Makes room for so many clocks at once, in place of step by step: every step takes a look at all keys there are.
    pub(super) fn reserve(&mut self, count: usize) {
        let count = count.min(self.capacity.saturating_sub(self.len));
        self.slots.reserve_exact(count);
        let slots = &self.slots;
        for part in &mut self.index {
            // Parts are not equally full.
            let share = count.div_ceil(PARTS) + count.div_ceil(PARTS) / 16;
            part.reserve(share, |at| slots.get(*at as usize).map_or(0, |slot| hash_of(&slot.key)));
        }
    }

    /// When the clock of `key` began.
    pub(super) fn get(&self, key: &Key) -> Option<Timestamp> {
        self.find(key).and_then(|at| self.slot(at)).map(|slot| slot.first_seen)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The tag of the clock begun first.
    pub(super) fn oldest_tag(&self) -> Option<u16> {
        self.slot(self.all.oldest).map(|slot| slot.tag)
    }

    /// How many clocks are in the account of a network.
    pub(super) fn running(&self, network: NetworkKey) -> u32 {
        self.accounts.get(network).map_or(0, |account| account.running)
    }

    /// The clocks of a network's account, the one first begun first.
    pub(super) fn oldest_of(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)> + '_ {
        self.account(network).map(|slot| (slot.key, slot.first_seen))
    }

    /// The clocks of a network's accounts in several tables that are counted together, the one first begun first.
    pub(super) fn oldest_in<'a>(
        tables: impl Iterator<Item = &'a Self>,
        network: NetworkKey,
    ) -> impl Iterator<Item = (Key, Timestamp)> {
        let mut accounts: Vec<_> = tables.map(|table| table.account(network).peekable()).collect();
        std::iter::from_fn(move || {
            let firsts = accounts.iter_mut().filter_map(|account| Some((account.peek()?.number, account)));
            // Numbers wrap around.
            let (_, account) = firsts.min_by(|(a, _), (b, _)| (a.wrapping_sub(*b) as i32).cmp(&0))?;
            account.next().map(|slot| (slot.key, slot.first_seen))
        })
    }

    fn account(&self, network: NetworkKey) -> impl Iterator<Item = &Slot> {
        let first = self.accounts.get(network).map_or(NONE, |account| account.ends.oldest);
        std::iter::successors(self.slot(first), |slot| self.slot(slot.of_network.newer))
    }

    /// Begins a clock, or begins it anew. Sweeps a little, and makes room by letting the oldest go.
    pub(super) fn begin(&mut self, key: Key, clock: Clock, tag: u16, now: Timestamp) {
        self.sweep(now);
        if self.len >= self.capacity {
            self.make_room(&key);
        }
        let unlinked = Links { older: NONE, newer: NONE };
        let lasts = clock.lasts.as_secs().div_ceil(LASTS_STEP.as_secs());
        let slot = Slot {
            key,
            first_seen: clock.first_seen,
            all: unlinked,
            of_network: unlinked,
            network: NONE,
            lasts: u16::try_from(lasts).unwrap_or(u16::MAX),
            tag,
            number: 0,
        };
        let at = self.place(slot);
        // Only now: had its network this clock alone, the account was closed.
        let network = clock.network.map_or(NONE, |network| self.accounts.open(network));
        self.link(at, network);
    }

    /// Lets the oldest go, unless `key` has a clock, which goes in its place.
    fn make_room(&mut self, key: &Key) {
        let before = self.len;
        self.end(key);
        if self.len == before
            && let Some(oldest) = self.slot(self.all.oldest)
        {
            let oldest = oldest.key;
            self.end(&oldest);
        }
    }

    /// Puts a clock where that of its key is, or into a vacant place. Returns the place.
    fn place(&mut self, slot: Slot) -> u32 {
        let hash = hash_of(&slot.key);
        let vacant = if self.free == NONE { self.slots.len() as u32 } else { self.free };
        let slots = &self.slots;
        let key_at = |at: &u32| slots.get(*at as usize).map(|slot| slot.key);
        let entry = part_of(&mut self.index, hash).entry(
            hash,
            |at| key_at(at) == Some(slot.key),
            |at| key_at(at).map_or(0, |key| hash_of(&key)),
        );
        match entry {
            Entry::Vacant(entry) => {
                entry.insert(vacant);
                self.len += 1;
                self.occupy(slot)
            }
            Entry::Occupied(entry) => {
                let at = *entry.get();
                self.unlink(at);
                if let Some(place) = self.slots.get_mut(at as usize) {
                    *place = slot;
                }
                at
            }
        }
    }

    /// Ends a clock, if it runs.
    pub(super) fn end(&mut self, key: &Key) {
        let hash = hash_of(key);
        let slots = &self.slots;
        let is_it = |at: &u32| slots.get(*at as usize).is_some_and(|slot| slot.key == *key);
        let Ok(entry) = part_of(&mut self.index, hash).find_entry(hash, is_it) else { return };
        let (at, _) = entry.remove();
        self.unlink(at);
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.key = VACANT;
            slot.all.newer = self.free;
            self.free = at;
        }
        self.len -= 1;
    }

    /// Ends clocks that nobody will ask for any more.
    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEEP_STEPS {
            match self.slot(self.all.oldest) {
                Some(slot) if is_forgettable(slot.first_seen.plus(lasts(slot)), now) => {
                    let key = slot.key;
                    self.end(&key);
                }
                _ => return,
            }
        }
    }

    /// How many places there are, vacant ones too.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The clocks at these places whose key is as wanted.
    pub(super) fn find_in(
        &self,
        places: Range<usize>,
        is_wanted: impl Fn(&Key) -> bool,
    ) -> Vec<(Key, Timestamp)> {
        let places = places.start.min(self.slots.len())..places.end.min(self.slots.len());
        let slots = self.slots[places].iter().filter(|slot| slot.key != VACANT && is_wanted(&slot.key));
        slots.map(|slot| (slot.key, slot.first_seen)).collect()
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = hash_of(key);
        let part = self.index.get(part_number(hash))?;
        part.find(hash, |at| self.slot(*at).is_some_and(|slot| slot.key == *key)).copied()
    }

    fn slot(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)
    }

    fn occupy(&mut self, slot: Slot) -> u32 {
        let at = self.free;
        match self.slots.get_mut(at as usize) {
            Some(vacant) => {
                self.free = vacant.all.newer;
                *vacant = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        }
    }

    /// Makes a clock the newest of all, and of its network.
    fn link(&mut self, at: u32, network: u32) {
        let older = std::mem::replace(&mut self.all.newest, at);
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.all.newer = at,
            None => self.all.oldest = at,
        }
        let (mut of_network, mut number) = (NONE, 0);
        if let Some(account) = self.accounts.at_mut(network) {
            account.running += 1;
            number = self.totals.add(account.key);
            of_network = std::mem::replace(&mut account.ends.newest, at);
            match self.slots.get_mut(of_network as usize) {
                Some(slot) => slot.of_network.newer = at,
                None => account.ends.oldest = at,
            }
        }
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.network = network;
            slot.number = number;
            slot.all.older = older;
            slot.of_network.older = of_network;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(&Slot { all, of_network, network, .. }) = self.slot(at) else { return };
        match self.slots.get_mut(all.older as usize) {
            Some(older) => older.all.newer = all.newer,
            None => self.all.oldest = all.newer,
        }
        match self.slots.get_mut(all.newer as usize) {
            Some(newer) => newer.all.older = all.older,
            None => self.all.newest = all.older,
        }
        let Some(account) = self.accounts.at_mut(network) else { return };
        match self.slots.get_mut(of_network.older as usize) {
            Some(older) => older.of_network.newer = of_network.newer,
            None => account.ends.oldest = of_network.newer,
        }
        match self.slots.get_mut(of_network.newer as usize) {
            Some(newer) => newer.of_network.older = of_network.older,
            None => account.ends.newest = of_network.older,
        }
        account.running -= 1;
        self.totals.subtract(account.key);
        if account.running == 0 {
            self.accounts.close(network);
        }
    }
}

fn lasts(slot: &Slot) -> Duration {
    LASTS_STEP * u32::from(slot.lasts)
}

/// What is counted of the clocks of networks in several tables together: in the lower half of each counter how many run, in the upper
/// how many were ever begun.
#[derive(Debug)]
pub(super) struct Totals(Box<[AtomicU64]>);

impl Default for Totals {
    fn default() -> Self {
        Self((0..TOTALS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Totals {
    /// How many clocks run for a network, and for those that share its counter.
    pub(super) fn at_most(&self, network: NetworkKey) -> u32 {
        self.counter(network).load(Ordering::Relaxed) as u32
    }

    /// Returns the number of the clock that begins.
    fn add(&self, network: NetworkKey) -> u32 {
        (self.counter(network).fetch_add((1 << 32) | 1, Ordering::Relaxed) >> 32) as u32
    }

    fn subtract(&self, network: NetworkKey) {
        self.counter(network).fetch_sub(1, Ordering::Relaxed);
    }

    fn counter(&self, network: NetworkKey) -> &AtomicU64 {
        &self.0[network.number() as usize % TOTALS]
    }
}

/// The accounts of networks that have clocks running.
#[derive(Debug)]
struct Accounts {
    slots: Vec<Account>,
    free: u32,
    index: Box<[HashTable<u32>]>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    key: NetworkKey,
    running: u32,
    ends: Ends,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { slots: Vec::new(), free: NONE, index: new_index() }
    }
}

impl Accounts {
    fn get(&self, network: NetworkKey) -> Option<&Account> {
        let hash = network.number();
        let part = self.index.get(part_number(hash))?;
        let at = part.find(hash, |at| self.key(*at) == Some(network))?;
        self.slots.get(*at as usize)
    }

    fn key(&self, at: u32) -> Option<NetworkKey> {
        self.slots.get(at as usize).map(|account| account.key)
    }

    fn at_mut(&mut self, at: u32) -> Option<&mut Account> {
        self.slots.get_mut(at as usize)
    }

    /// Where the account of a network stands; opened if there is none.
    fn open(&mut self, network: NetworkKey) -> u32 {
        let hash = network.number();
        let slots = &self.slots;
        let key_at = |at: &u32| slots.get(*at as usize).map(|account| account.key);
        let part = part_of(&mut self.index, hash);
        if let Some(at) = part.find(hash, |at| key_at(at) == Some(network)) {
            return *at;
        }
        let at = if self.free == NONE { slots.len() as u32 } else { self.free };
        part.insert_unique(hash, at, |at| key_at(at).map_or(0, NetworkKey::number));
        let account = Account { key: network, running: 0, ends: Ends::EMPTY };
        match self.slots.get_mut(at as usize) {
            Some(vacant) => {
                self.free = vacant.ends.newest;
                *vacant = account;
            }
            None => self.slots.push(account),
        }
        at
    }

    fn close(&mut self, at: u32) {
        let Some(network) = self.key(at) else { return };
        if let Ok(entry) =
            part_of(&mut self.index, network.number()).find_entry(network.number(), |found| *found == at)
        {
            entry.remove();
        }
        if let Some(account) = self.slots.get_mut(at as usize) {
            account.ends.newest = self.free;
            self.free = at;
        }
    }
}

fn hash_of(key: &Key) -> u64 {
    BuildHasherDefault::<KeyHasher>::default().hash_one(key)
}

fn new_index() -> Box<[HashTable<u32>]> {
    (0..PARTS).map(|_| HashTable::with_capacity(FIRST_ROOM)).collect()
}

/// The part of an index that has this hash. Chosen by bits in the middle: a hash table goes by those at both ends.
const fn part_number(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

fn part_of(index: &mut [HashTable<u32>], hash: u64) -> &mut HashTable<u32> {
    &mut index[part_number(hash)]
}

#[cfg(test)]
mod tests;
