//! Where keys are put: one server, or the masters of a cluster.

use std::collections::{BTreeMap, VecDeque};

use super::putting::UnderWay;
use crate::format::counts::count;
use crate::redis::RedisError;
use crate::redis::server::{Address, Came, Cluster, Elsewhere, Goes, Info, PutBatch, SentKeys, Server, slot_of};

/// Keys, and bytes, that are sent at once.
const BATCH: usize = 2048;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that are on their way to one server.
const AHEAD: usize = 2;

/// One server, or the masters of a cluster. Whoever names a node of a cluster lets its login be given to those that this node
/// and the others name.
///
/// SET-5
pub(super) struct Nodes {
    address: Address,
    list: Vec<Node>,
    /// By slot, the place of its node; of one server none.
    owners: BTreeMap<u16, usize>,
}

impl Nodes {
    /// Connects to all of them; what the first says of itself. Refuses a cluster with slots that nobody serves.
    pub fn reach(address: &Address) -> Result<(Nodes, Info), RedisError> {
        let mut server = Server::connect(address)?;
        let info = server.info()?;
        if info.get("cluster_enabled") != Some("1") {
            let list = vec![Node::new(server, None)];
            return Ok((Nodes { address: address.clone(), list, owners: BTreeMap::new() }, info));
        }
        let cluster = Cluster::of(&mut server)?;
        if cluster.unserved > 0 {
            return Err(RedisError::Server {
                what: format!(
                    "no node of the cluster of {address} serves {}: keys of these have nowhere to go",
                    count(cluster.unserved, "slot")
                ),
                hint: "redis-cli --cluster check says which, and redis-cli --cluster fix gives them to nodes".into(),
            });
        }
        let mut nodes = Nodes { address: address.clone(), list: Vec::new(), owners: cluster.owners() };
        for shard in &cluster.shards {
            nodes.connect(&shard.host, shard.port)?;
        }
        let info = nodes.first()?.server.info()?;
        Ok((nodes, info))
    }

    /// How many masters the cluster has; none where it is one server.
    pub fn masters(&self) -> Option<u64> {
        (!self.owners.is_empty()).then_some(self.list.len() as u64)
    }

    fn connect(&mut self, host: &str, port: u16) -> Result<usize, RedisError> {
        let server = Server::connect(&self.address.at(host, port))?;
        self.list.push(Node::new(server, Some((host.into(), port))));
        Ok(self.list.len() - 1)
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Node> {
        self.list.iter_mut()
    }

    pub fn first(&mut self) -> Result<&mut Node, RedisError> {
        self.at(0)
    }

    /// The node at a place.
    pub fn at(&mut self, place: usize) -> Result<&mut Node, RedisError> {
        let lost = || RedisError::Server {
            what: format!("the cluster of {} has no such node", self.address),
            hint: "run the same again with --merge".into(),
        };
        self.list.get_mut(place).ok_or_else(lost)
    }

    /// The place of the node that takes a key.
    pub fn place_of(&self, key: &[u8]) -> usize {
        match self.owners.is_empty() {
            true => 0,
            false => self.owners.get(&slot_of(key)).copied().unwrap_or_default(),
        }
    }

    /// The place of the node that another one names, which takes the whole slot from now on unless that is on its way only.
    pub fn follow(&mut self, elsewhere: &Elsewhere) -> Result<usize, RedisError> {
        let is_it = |node: &Node| {
            node.place.as_ref().is_some_and(|(host, port)| (host, *port) == (&elsewhere.host, elsewhere.port))
        };
        let place = match self.list.iter().position(is_it) {
            Some(place) => place,
            None => self.connect(&elsewhere.host, elsewhere.port)?,
        };
        if !elsewhere.is_on_its_way {
            self.owners.insert(elsewhere.slot, place);
        }
        Ok(place)
    }
}

/// Keys, and what became of them.
pub(super) type Heard = Vec<(UnderWay, Came)>;

/// A server, and what is on its way to it.
pub(super) struct Node {
    pub server: Server,
    /// The chosen database.
    pub database: u64,
    /// Where it is, if it is of a cluster.
    place: Option<(String, u16)>,
    batch: PutBatch,
    under_way: Vec<UnderWay>,
    /// Batches that the server works on while the next one is gathered: it always has one more than is heard of.
    sent: VecDeque<(SentKeys, Vec<UnderWay>)>,
}

impl Node {
    fn new(server: Server, place: Option<(String, u16)>) -> Node {
        let (database, batch, under_way, sent) = Default::default();
        Node { server, database, place, batch, under_way, sent }
    }

    /// Gathers a key; whether there are enough of them now.
    pub fn add(&mut self, key: UnderWay, payload: &[u8], goes: Goes, replaces: bool) -> bool {
        self.batch.add(&self.server, &key.key, payload, goes, replaces);
        self.under_way.push(key);
        self.batch.count() >= BATCH || self.batch.bytes() >= BATCH_BYTES
    }

    /// Whether as much is on its way as may be.
    pub fn is_busy(&self) -> bool {
        self.sent.len() >= AHEAD
    }

    /// Sends what was gathered.
    pub fn send(&mut self) -> Result<(), RedisError> {
        if self.batch.count() > 0 {
            let sent = self.server.send_keys(std::mem::take(&mut self.batch))?;
            self.sent.push_back((sent, std::mem::take(&mut self.under_way)));
        }
        Ok(())
    }

    /// What became of each key of the batch that was sent first; `None`: all is heard of.
    pub fn hear(&mut self) -> Result<Option<(PutBatch, Heard)>, RedisError> {
        let Some((sent, keys)) = self.sent.pop_front() else { return Ok(None) };
        let (batch, came) = self.server.put_sent(sent)?;
        Ok(Some((batch, keys.into_iter().zip(came).collect())))
    }

    /// The room of a batch is of use for the next one.
    pub fn use_again(&mut self, mut batch: PutBatch) {
        if self.batch.count() == 0 {
            batch.clear();
            self.batch = batch;
        }
    }
}
