//! Commands that servers write into append-only files, by where they name the keys they change.

/// What is known of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// One that is followed: how it changes its key, which is its first argument.
    Followed,
    /// It changes its first argument and nothing else.
    First,
    /// It changes nothing that it does not name; which of its arguments are keys does not matter where none is the key.
    Named,
    /// It changes no key.
    Nothing,
    /// It deletes all that it names.
    Deletes,
    /// It sets each key that it names to what follows.
    Sets,
    /// `SELECT`, `FLUSHDB`, `FLUSHALL`, `SWAPDB`, `MOVE`, `COPY`, `RENAME`.
    Keyspace,
    /// It may change anything: scripts, commands of modules, commands to come.
    Unknown,
}

pub(super) fn known(name: &[u8]) -> Known {
    match name {
        b"set" | b"setnx" | b"setex" | b"psetex" | b"getset" | b"getdel" | b"append" | b"incr" | b"decr"
        | b"incrby" | b"decrby" | b"expire" | b"pexpire" | b"expireat" | b"pexpireat" | b"persist" => Known::Followed,
        b"getex" | b"incrbyfloat" | b"setrange" | b"setbit" | b"bitfield" | b"restore" | b"restore-asking"
        | b"delex" => Known::First,
        b"lpush" | b"rpush" | b"lpushx" | b"rpushx" | b"lpop" | b"rpop" | b"lset" | b"linsert" | b"lrem" | b"ltrim" => {
            Known::First
        }
        b"sadd" | b"srem" | b"spop" | b"geoadd" | b"pfadd" => Known::First,
        b"zadd" | b"zincrby" | b"zrem" | b"zpopmin" | b"zpopmax" | b"zremrangebyscore" | b"zremrangebyrank"
        | b"zremrangebylex" => Known::First,
        b"hset" | b"hsetnx" | b"hmset" | b"hdel" | b"hincrby" | b"hincrbyfloat" | b"hexpire" | b"hpexpire"
        | b"hexpireat" | b"hpexpireat" | b"hpersist" | b"hgetdel" | b"hgetex" | b"hsetex" => Known::First,
        b"xadd" | b"xdel" | b"xtrim" | b"xack" | b"xclaim" | b"xautoclaim" | b"xsetid" | b"xdelex" | b"xackdel"
        | b"xcfgset" | b"xnack" | b"xidmprecord" => Known::First,
        b"arset" | b"armset" | b"arinsert" | b"arring" | b"arseek" => Known::First,
        b"vadd" | b"vrem" | b"vsetattr" => Known::First,
        b"del" | b"unlink" => Known::Deletes,
        b"mset" | b"msetnx" => Known::Sets,
        b"select" | b"flushdb" | b"flushall" | b"swapdb" | b"move" | b"copy" | b"rename" | b"renamenx" => {
            Known::Keyspace
        }
        b"lmove" | b"blmove" | b"rpoplpush" | b"brpoplpush" | b"blpop" | b"brpop" | b"lmpop" | b"blmpop" | b"smove"
        | b"sinterstore" | b"sunionstore" | b"sdiffstore" | b"zunionstore" | b"zinterstore" | b"zdiffstore"
        | b"zrangestore" | b"zmpop" | b"bzmpop" | b"bzpopmin" | b"bzpopmax" | b"georadius" | b"georadiusbymember"
        | b"geosearchstore" | b"sort" | b"bitop" | b"pfmerge" | b"pfcount" | b"xgroup" | b"xreadgroup" | b"msetex" => {
            Known::Named
        }
        b"multi" | b"exec" | b"discard" | b"ping" | b"publish" | b"spublish" | b"script" | b"function" => {
            Known::Nothing
        }
        _ => Known::Unknown,
    }
}
