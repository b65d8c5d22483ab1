//! What commands are called: a name that no server knows is a typing error.

/// Commands of Redis and Valkey, in lower case, of all versions that are known. Those of modules have a dot in their names.
const NAMES: &str = "\
    acl append asking auth bgrewriteaof bgsave bitcount bitfield bitfield_ro bitop bitpos blmove blmpop blpop brpop \
    brpoplpush bzmpop bzpopmax bzpopmin client cluster clusterscan command commandlog config copy dbsize debug decr decrby \
    del delifeq discard dump echo eval eval_ro evalsha evalsha_ro exec exists expire expireat expiretime failover fcall \
    fcall_ro flushall flushdb function geoadd geodist geohash geopos georadius georadius_ro georadiusbymember \
    georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange getset hdel hello hexists hexpire \
    hexpireat hexpiretime hget hgetall hgetdel hgetex hincrby hincrbyfloat hkeys hlen hmget hmset hpersist hpexpire \
    hpexpireat hpexpiretime hpttl hrandfield hscan hset hsetex hsetnx hstrlen httl hvals incr incrby incrbyfloat info keys \
    lastsave latency lcs lindex linsert llen lmove lmpop lolwut lpop lpos lpush lpushx lrange lrem lset ltrim memory mget \
    migrate module monitor move mset msetex msetnx multi object persist pexpire pexpireat pexpiretime pfadd pfcount \
    pfdebug pfmerge pfselftest ping psetex psubscribe psync pttl publish pubsub punsubscribe quit randomkey readonly \
    readwrite rename renamenx replconf replicaof reset restore restore-asking role rpop rpoplpush rpush rpushx sadd save \
    scan scard script sdiff sdiffstore select set setbit setex setnx setrange shutdown sinter sintercard sinterstore \
    sismember slaveof slowlog smembers smismember smove sort sort_ro spop spublish srandmember srem sscan ssubscribe \
    stralgo strlen subscribe substr sunion sunionstore sunsubscribe swapdb sync time touch ttl type unlink unsubscribe \
    unwatch vadd vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrem vsetattr vsim wait waitaof watch xack \
    xackdel xadd xautoclaim xclaim xdel xdelex xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim \
    zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin \
    zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore \
    zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore";

/// How much a name may differ from the one that was meant, between 0 and 1.
const ALIKE: f64 = 0.8;

/// Refuses a name that no server gives to a command: with the one that may be meant.
pub fn refuse_unknown_command(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if lower.contains('.') || NAMES.split(' ').any(|known| known == lower) {
        return Ok(());
    }
    let alike = NAMES.split(' ').map(|known| (strsim::jaro_winkler(known, &lower), known));
    let nearest = alike.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(alike, _)| *alike >= ALIKE);
    let meant = nearest.map_or(String::new(), |(_, known)| format!("; did you mean {}?", known.to_ascii_uppercase()));
    Err(format!("{name} is no command of Redis or Valkey{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_server_knows_is_refused_with_the_nearest_one() {
        for known in ["INFO", "config", "BgSave", "JSON.SET", "sort_ro", "restore-asking", "VADD", "ZUNIONSTORE"] {
            assert_eq!(refuse_unknown_command(known), Ok(()), "{known}");
        }
        for (typed, meant) in [("INFOO", "INFO"), ("BGSVAE", "BGSAVE"), ("CONFG", "CONFIG"), ("shutdwon", "SHUTDOWN")] {
            let refused = refuse_unknown_command(typed).unwrap_err();
            assert!(refused.contains(typed) && refused.ends_with(&format!("did you mean {meant}?")), "{refused}");
        }
        assert_eq!(refuse_unknown_command("qqq").unwrap_err(), "qqq is no command of Redis or Valkey");
    }
}
