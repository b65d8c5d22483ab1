//! Data as servers hold it, made from a seed: the same seed and size give the same keys, values and expiries.

use std::fmt::Write as _;

use redis::{Connection, Pipeline, RedisResult};

use crate::support::server::RedisServer;

/// Expiries are moments after this one (2100-01-01, milliseconds since the epoch), so that none passes during a test.
const FIRST_EXPIRY: u64 = 4_102_444_800_000;

/// A pipeline is sent when it holds this many commands or bytes of values.
const BATCH_COMMANDS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

/// What to put into a server.
#[derive(Clone, Debug)]
pub struct Keyspace {
    pub seed: u64,
    /// Keys over all databases. From `Keyspace::FORMS` on, every form of value occurs.
    pub keys: usize,
    /// The first takes most keys, the others an equal, small share.
    pub databases: Vec<u32>,
    /// Let some fields of hashes expire, where the server can.
    pub field_expiry: bool,
}

impl Keyspace {
    /// How many forms of value there are.
    pub const FORMS: usize = WEIGHTS.len();

    pub fn new(seed: u64, keys: usize) -> Self {
        Self { seed, keys, databases: vec![0, 1, 5], field_expiry: true }
    }

    /// Adds the keys to what the server holds.
    pub fn fill(&self, server: &RedisServer) {
        let field_expiry = self.field_expiry && server.kind().has_field_expiry();
        for (nth, &database) in self.databases.iter().enumerate() {
            let mut connection = server.connection();
            redis::cmd("SELECT").arg(database).exec(&mut connection).expect("the database exists");
            let mut batch = Batch { pipeline: Pipeline::new(), bytes: 0, connection };
            for number in (0..self.keys).filter(|&number| self.home(number) == nth) {
                let random = Random::new(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let form = WEIGHTS.get(number).map(|(form, _)| *form);
                Key { number, random, field_expiry }.add(form, &mut batch);
                batch.send_if_full();
            }
            batch.send();
        }
    }

    /// The place in `databases` of the database that holds this key. The first of every form is in the first.
    fn home(&self, number: usize) -> usize {
        let others = self.databases.len() - 1;
        if number < Self::FORMS || others == 0 || !number.is_multiple_of(16) { 0 } else { 1 + number / 16 % others }
    }
}

/// splitmix64: a few lines that never change beat a dependency whose streams may.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.take(length.div_ceil(8)).flatten().take(length).collect()
    }

    pub fn words(&mut self, count: usize) -> String {
        const WORDS: [&str; 16] = [
            "order",
            "paid",
            "Berlin",
            "blue",
            "pending",
            "mail",
            "winter",
            "Ångström",
            "left",
            "cart",
            "news",
            "seven",
            "photo",
            "guest",
            "London",
            "draft",
        ];
        let picked: Vec<_> = (0..count).filter_map(|_| WORDS.get(self.below(16) as usize).copied()).collect();
        picked.join(" ")
    }
}

struct Batch {
    pipeline: Pipeline,
    bytes: usize,
    connection: Connection,
}

impl Batch {
    /// A new command, to which the caller adds arguments.
    fn command(&mut self, name: &str, key: &[u8]) -> &mut Pipeline {
        self.pipeline.cmd(name).arg(key)
    }

    fn send_if_full(&mut self) {
        if self.pipeline.len() >= BATCH_COMMANDS || self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let answers: RedisResult<Vec<redis::Value>> = self.pipeline.query(&mut self.connection);
        answers.expect("the server takes the keys");
        self.pipeline.clear();
        self.bytes = 0;
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Profile,
    Counter,
    Session,
    SmallHash,
    LargeHash,
    SmallList,
    LargeList,
    IntegerSet,
    SmallSet,
    LargeSet,
    SmallZset,
    LargeZset,
    Stream,
    StreamWithGroups,
    Binary,
    LongText,
    LongBinary,
}

/// Of how many keys in a thousand have each form.
const WEIGHTS: [(Form, u64); 17] = [
    (Form::Profile, 400),
    (Form::Counter, 110),
    (Form::Session, 110),
    (Form::SmallHash, 130),
    (Form::LargeHash, 2),
    (Form::SmallList, 70),
    (Form::LargeList, 2),
    (Form::IntegerSet, 40),
    (Form::SmallSet, 40),
    (Form::LargeSet, 2),
    (Form::SmallZset, 50),
    (Form::LargeZset, 2),
    (Form::Stream, 10),
    (Form::StreamWithGroups, 5),
    (Form::Binary, 23),
    (Form::LongText, 3),
    (Form::LongBinary, 1),
];

fn weighted(random: &mut Random) -> Form {
    let mut at = random.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
    for (form, weight) in WEIGHTS {
        if at < weight {
            return form;
        }
        at -= weight;
    }
    Form::Profile
}

struct Key {
    number: usize,
    random: Random,
    field_expiry: bool,
}

impl Key {
    fn add(mut self, form: Option<Form>, batch: &mut Batch) {
        let form = form.unwrap_or_else(|| weighted(&mut self.random));
        match form {
            Form::Profile => self.profile(batch),
            Form::Counter => {
                let value = self.random.next() as i64 >> self.random.below(64);
                self.set(batch, "counter", value.to_string().into_bytes());
            }
            Form::Session => {
                let token = format!("{:016x}{:016x}", self.random.next(), self.random.next());
                let key = self.set(batch, "session", token.into_bytes());
                self.expire(batch, &key);
            }
            Form::SmallHash => self.hash(batch, 6),
            Form::LargeHash => self.hash(batch, 700),
            Form::SmallList => self.list(batch, 8),
            Form::LargeList => self.list(batch, 1500),
            Form::IntegerSet => self.set_of(batch, "tags", |random| random.below(100_000).to_string(), 20),
            Form::SmallSet => self.set_of(batch, "friends", |random| format!("user:{}", random.below(100_000)), 10),
            Form::LargeSet => self.set_of(batch, "visitors", |random| format!("{:016x}", random.next()), 700),
            Form::SmallZset => self.zset(batch, 12),
            Form::LargeZset => self.zset(batch, 400),
            Form::Stream => self.stream(batch, false),
            Form::StreamWithGroups => self.stream(batch, true),
            Form::Binary => self.binary(batch),
            Form::LongText => {
                let text = self.random.words(4000);
                self.set(batch, "document", text.into_bytes());
            }
            Form::LongBinary => {
                let bytes = self.random.bytes(120_000);
                self.set(batch, "image", bytes);
            }
        }
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("{name}:{}", self.number).into_bytes()
    }

    fn set(&mut self, batch: &mut Batch, name: &str, value: Vec<u8>) -> Vec<u8> {
        let key = self.key(name);
        batch.bytes += value.len();
        batch.command("SET", &key).arg(value);
        key
    }

    fn expire(&mut self, batch: &mut Batch, key: &[u8]) {
        batch.command("PEXPIREAT", key).arg(self.moment());
    }

    fn moment(&mut self) -> u64 {
        FIRST_EXPIRY + self.random.below(30 * 86_400_000)
    }

    fn profile(&mut self, batch: &mut Batch) {
        let mut json = format!(r#"{{"id":{},"name":"{}","#, self.number, self.random.words(2));
        let visits = self.random.below(5000);
        let words = self.random.below(12) as usize;
        write!(json, r#""visits":{visits},"note":"{}","active":{}}}"#, self.random.words(words), self.random.one_in(2))
            .expect("a String takes every text");
        let key = self.set(batch, "profile", json.into_bytes());
        if self.random.one_in(3) {
            self.expire(batch, &key);
        }
    }

    fn hash(&mut self, batch: &mut Batch, about: u64) {
        let key = self.key("account");
        let fields = 1 + about / 2 + self.random.below(about);
        let command = batch.command("HSET", &key);
        for field in 0..fields {
            command.arg(format!("field{field}")).arg(self.random.words(2));
        }
        batch.bytes += fields as usize * 25;
        if self.field_expiry && self.random.one_in(4) {
            let moment = self.moment();
            batch.command("HPEXPIREAT", &key).arg(moment).arg("FIELDS").arg(1).arg("field0");
        }
        if self.random.one_in(8) {
            self.expire(batch, &key);
        }
    }

    fn list(&mut self, batch: &mut Batch, about: u64) {
        let key = self.key("queue");
        let items = 1 + about / 2 + self.random.below(about);
        let command = batch.command("RPUSH", &key);
        for item in 0..items {
            // Numbers and texts are kept differently in a listpack.
            if self.random.one_in(3) {
                command.arg(self.random.next() as i32);
            } else {
                command.arg(format!("job-{item}-{}", self.random.words(3)));
            }
        }
        batch.bytes += items as usize * 25;
    }

    fn set_of(&mut self, batch: &mut Batch, name: &str, member: impl Fn(&mut Random) -> String, about: u64) {
        let key = self.key(name);
        let members = 1 + about / 2 + self.random.below(about);
        let command = batch.command("SADD", &key);
        for _ in 0..members {
            command.arg(member(&mut self.random));
        }
        batch.bytes += members as usize * 16;
    }

    fn zset(&mut self, batch: &mut Batch, about: u64) {
        let key = self.key("ranking");
        let members = 1 + about / 2 + self.random.below(about);
        let command = batch.command("ZADD", &key);
        for member in 0..members {
            let score = match member {
                0 => "-inf".to_owned(),
                1 => "1e300".to_owned(),
                _ => format!("{}.{}", self.random.below(10_000), self.random.below(1000)),
            };
            command.arg(score).arg(format!("player{member}"));
        }
        batch.bytes += members as usize * 20;
    }

    fn stream(&mut self, batch: &mut Batch, groups: bool) {
        let key = self.key("events");
        let entries = 4 + self.random.below(if groups { 250 } else { 30 });
        let id = |entry: u64| format!("{}-{}", 1_700_000_000_000 + entry / 2 * 1000, entry % 2);
        for entry in 0..entries {
            let command = batch.command("XADD", &key).arg(id(entry)).arg("kind").arg(self.random.words(1));
            if self.random.one_in(4) {
                command.arg("user").arg(self.random.below(1000));
            }
        }
        batch.bytes += entries as usize * 40;
        batch.command("XDEL", &key).arg(id(1));
        if groups {
            for group in ["billing", "mail"] {
                batch.pipeline.cmd("XGROUP").arg("CREATE").arg(&key).arg(group).arg(0);
                for consumer in ["worker-1", "worker-2"] {
                    let command = batch.pipeline.cmd("XREADGROUP").arg("GROUP").arg(group).arg(consumer);
                    command.arg("COUNT").arg(entries / 5 + 1).arg("STREAMS").arg(&key).arg(">");
                }
                batch.command("XACK", &key).arg(group).arg(id(0));
            }
        }
    }

    fn binary(&mut self, batch: &mut Batch) {
        let mut key = self.random.bytes(12);
        // The number keeps keys apart, the line end and the zero trip those who take keys for text.
        key.extend_from_slice(b"\r\n\0");
        key.extend_from_slice(&(self.number as u64).to_be_bytes());
        let length = self.random.below(300) as usize;
        let value = self.random.bytes(length);
        batch.bytes += length;
        batch.command("SET", &key).arg(value);
        if self.random.one_in(5) {
            self.expire(batch, &key);
        }
    }
}
