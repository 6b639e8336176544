//! Stores that several processes share: Redis, alone and as a Cluster.

use greylag::store::{RedisStore, Store};

use super::support::redis::{Cluster, Redis};
use super::{Subject, suite, wait_for};

/// An empty store on a server of this thread, which ends with it.
pub(crate) fn redis() -> Subject {
    thread_local!(static SERVER: Redis = Redis::start(""));
    SERVER.with(|server| {
        server.ask(&["FLUSHALL"]);
        subject("redis", server.url())
    })
}

/// An empty store on a Cluster.
pub(crate) fn cluster(cluster: &Cluster) -> Subject {
    for node in &cluster.nodes {
        node.ask(&["FLUSHALL"]);
    }
    subject("cluster", cluster.url())
}

fn subject(name: &'static str, url: String) -> Subject {
    let open = move |_| {
        let store = wait_for(RedisStore::open_with_given_times(url.parse().unwrap()));
        Box::new(store.unwrap()) as Box<dyn Store>
    };
    Subject { name, store: Some(open(super::at(0))), reopen: Some(Box::new(open)) }
}

/// All in one test, as a Cluster takes seconds to start.
#[test]
fn a_cluster_does_what_every_store_does() {
    let nodes = Cluster::start();
    for (name, scenario) in suite::SCENARIOS {
        println!("{name}");
        scenario(cluster(&nodes).store());
    }
}
