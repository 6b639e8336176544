//! What a server says of itself.

use std::collections::HashMap;

/// The answer to `INFO`.
#[derive(Debug)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_sentinel(&self) -> bool {
        self.is_of_mode("sentinel")
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.get("cluster_enabled") == "1" || self.is_of_mode("cluster")
    }

    /// Redis has one name for it, and Valkey from 8 on another.
    fn is_of_mode(&self, mode: &str) -> bool {
        ["redis_mode", "server_mode"].iter().any(|name| self.get(name) == mode)
    }

    pub(super) fn is_replica(&self) -> bool {
        self.get("role") == "slave"
    }

    /// The master of a replica.
    pub(super) fn master(&self) -> String {
        format!("{}:{}", self.get("master_host"), self.get("master_port"))
    }

    /// The services a Sentinel watches.
    pub(super) fn services(&self) -> Vec<&str> {
        let masters = self.0.iter().filter(|(name, _)| name.starts_with("master") && *name != "masters");
        let names =
            masters.filter_map(|(_, value)| value.split(',').find_map(|field| field.strip_prefix("name=")));
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names
    }

    /// What it does when its memory is full, if that loses records: the name of the policy.
    pub(super) fn evicts_by(&self) -> Option<&str> {
        let has_limit = !matches!(self.get("maxmemory"), "" | "0");
        Some(self.get("maxmemory_policy")).filter(|policy| has_limit && !matches!(*policy, "" | "noeviction"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_by_what_it_says() {
        let info = Info::parse(
            "# Server\r\nredis_mode:standalone\r\n\r\n# Replication\r\nrole:slave\r\nmaster_host:::1\r\nmaster_port:1\r\n",
        );
        assert!(info.is_replica() && !info.is_cluster() && !info.is_sentinel());
        assert_eq!(info.master(), "::1:1");
        assert!(Info::parse("redis_mode:cluster").is_cluster());
        assert!(Info::parse("server_name:valkey\r\nserver_mode:sentinel").is_sentinel());
        assert!(!Info::parse("server_name:valkey\r\nserver_mode:standalone").is_sentinel());
        let info = Info::parse(
            "redis_mode:sentinel\r\nsentinel_masters:2\r\nmaster1:name=b,status=ok\r\nmaster0:name=a,status=ok",
        );
        assert!(info.is_sentinel());
        assert_eq!(info.services(), ["a", "b"]);
    }

    #[test]
    fn only_a_limit_with_an_evicting_policy_loses_records() {
        let evicts = |maxmemory: &str, policy: &str| {
            let info = Info::parse(&format!("maxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n"));
            info.evicts_by().map(str::to_owned)
        };
        assert_eq!(evicts("0", "allkeys-lru"), None);
        assert_eq!(evicts("1000", "noeviction"), None);
        assert_eq!(evicts("1000", "volatile-ttl"), Some("volatile-ttl".into()));
    }
}
