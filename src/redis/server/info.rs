//! The answer of INFO.

use std::collections::BTreeMap;

/// The answer of INFO: fields by name. One that a server does not have is `None`. Modules have a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info(BTreeMap<String, String>, Vec<String>);

/// What INFO says of one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keyspace {
    /// Keys, with those that expired and are not gone yet.
    pub keys: u64,
    /// Keys with an expiry.
    pub expires: u64,
    /// Hashes with fields that expire: Redis from 7.4 and Valkey from 9.0 on tell.
    pub volatile: u64,
}

impl Info {
    /// Reads an answer. Of a field that comes twice the last counts.
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        let modules = fields.clone().filter(|(name, _)| *name == "module");
        let modules = modules.map(|(_, value)| value.trim_end().to_owned()).collect();
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect(), modules)
    }

    /// A field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a field: of a server that does not run something else is known than its stand-in says.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// A field that holds a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Whether a field is 1.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("1")
    }

    /// Whether the server is loading its data, or a replica's new data beside the old.
    pub fn is_loading(&self) -> bool {
        self.is_on("loading") || self.is_on("async_loading")
    }

    /// Whether it is a master that was a replica before: it may go on with a dataset that it was sent, without a save of it or a
    /// count of changes.
    pub fn was_replica(&self) -> bool {
        self.get("master_replid2").is_some_and(|id| id.bytes().any(|byte| byte != b'0'))
    }

    /// Version as `(major, minor, patch)`: of Redis, or for a Valkey server the Redis version it is compatible with.
    pub fn version(&self) -> Option<(u32, u32, u32)> {
        parse_version(self.get("redis_version")?)
    }

    /// Version of a Valkey server.
    pub fn valkey_version(&self) -> Option<(u32, u32, u32)> {
        parse_version(self.get("valkey_version")?)
    }

    /// Modules as `name:version`, sorted, separated by commas.
    pub fn modules(&self) -> String {
        let mut modules: Vec<String> = self.1.iter().filter_map(|line| module(line)).collect();
        modules.sort();
        modules.join(",")
    }

    /// Online replicas of a master: host and port.
    pub fn replicas(&self) -> Vec<(String, u16)> {
        let lines = self.0.iter().filter(|(name, _)| {
            name.strip_prefix("slave").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        });
        let online = lines.filter(|(_, line)| part(line, "state") == Some("online"));
        online.filter_map(|(_, line)| Some((part(line, "ip")?.to_owned(), part(line, "port")?.parse().ok()?))).collect()
    }

    /// Keys of all databases, with those that expired and are not gone yet.
    pub fn keys(&self) -> u64 {
        self.keyspace().values().map(|database| database.keys).fold(0, u64::saturating_add)
    }

    /// Databases that hold keys.
    pub fn keyspace(&self) -> BTreeMap<u64, Keyspace> {
        let databases = self.0.iter().filter_map(|(name, value)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let field = |name: &str| part(value, name).and_then(|value| value.parse().ok()).unwrap_or(0);
            let volatile = field("subexpiry").max(field("keys_with_volatile_items"));
            Some((number, Keyspace { keys: field("keys"), expires: field("expires"), volatile }))
        });
        databases.collect()
    }
}

/// One part of a value like `a=1,b=2`.
fn part<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn module(line: &str) -> Option<String> {
    Some(format!("{}:{}", part(line, "name")?, part(line, "ver")?))
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.split('-').next().unwrap_or(part).parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_versions_and_databases_are_read() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nvalkey_version:9.1.2-rc1\r\nexecutable:/usr/bin/a:b\r\n\r\n# Keyspace\r\n\
             module:name=search,ver=2,api=1\r\nmodule:name=json,ver=7,api=1\r\nslave0:ip=::1,port=7,state=online,offset=3\r\n\
             slave1:ip=h,port=8,state=wait_bgsave\r\nslave_expires_tracked_keys:0\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndb11:keys=2,expires=0,avg_ttl=0,subexpiry=1\r\nloading:0\r\nasync_loading:1\r\n",
        );
        assert_eq!(info.version(), Some((7, 0, 15)));
        assert_eq!(info.valkey_version(), Some((9, 1, 2)));
        assert_eq!(info.get("executable"), Some("/usr/bin/a:b"));
        assert_eq!(info.modules(), "json:7,search:2");
        assert_eq!(info.replicas(), [("::1".to_owned(), 7)]);
        assert!(info.is_loading() && !info.is_on("loading") && !info.was_replica());
        let id2 = |id: &str| Info::parse(&format!("master_replid2:{id}\r\n")).was_replica();
        assert_eq!([id2("0000"), id2("00a0")], [false, true]);
        let expected =
            [(0, Keyspace { keys: 3, expires: 1, volatile: 0 }), (11, Keyspace { keys: 2, expires: 0, volatile: 1 })];
        assert_eq!(info.keyspace(), expected.into());
        assert_eq!(Info::parse("garbage\n:\ndbx:keys=1\n").keyspace(), BTreeMap::new());
    }
}
