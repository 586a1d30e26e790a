/* keys.h - what lies in Redis, and the scripts that change it: each one atomic, so a space's order
 * is the order of its scripts. S = the space, C = the channel; the braces keep a space on one slot
 * of a cluster. In another database than 0 they begin with its number, as xs3:. Specification:
 * realtime.md §13.1.
 *
 *   xs:{S}:epoch, xs:{S}:seq   the space's epoch, 16 hex digits; its counter
 *   xs:{S}:i:<node>            "<number> <seq> <off>" of the node's newest record, for an hour
 *   xs:{S}:m:C                 hash: off, last (seq), ver (changes of members)
 *   xs:{S}:h:C                 stream <seq>-0: o (off), t (ms), v (record)
 *   xs:{S}:p:C, xs:{S}:px:C    members: hash socket id → "<node> <data>", and when they end (ms)
 *   xs:{S}:c:C                 topic: "E <epoch> <seq> <off> <ms> <record>" numbered, "U <record>",
 *                              "J|L <ver> <socket id> <node> <data>" members
 *   xs:{S}:a                   topic of all nodes: "<node> <note>"
 *   xs:{S}:n:<node>            topic of one node: its snapshots, and "B <n> <length> <channel>",
 *                              a barrier behind what it published */
#ifndef BACKPLANE_REDIS_KEYS_H
#define BACKPLANE_REDIS_KEYS_H

#define NOW                                                                                        \
    "local t=redis.call('TIME') "                                                                  \
    "local now=string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)) "
#define EPOCH                                                                                      \
    "local e=redis.call('GET',KEYS[1]) "                                                           \
    "if not e then e=ARGV[1] redis.call('SET',KEYS[1],e) end "
#define CHANGED                                                                                    \
    "local function changed(what,id,value) "                                                       \
    "local ver=string.format('%.0f',redis.call('HINCRBY',KEYS[3],'ver',1)) "                       \
    "redis.call('PEXPIRE',KEYS[3],86400000) "                                                      \
    "redis.call('PUBLISH',KEYS[4],what..' '..ver..' '..id..' '..value) end "

/* keys: epoch seq m h topic i; args: epoch if there is none, events, ttl ms, record, its number
 * among those of the node. A record that is sent again, since its answer was lost, counts once. */
static const char script_publish[] = EPOCH NOW
    "local last=redis.call('GET',KEYS[6]) "
    "if last then local n,s,o=string.match(last,'(%d+) (%d+) (%d+)') "
    "if tonumber(n)>=tonumber(ARGV[5]) then return {e,s,o} end end "
    "local s=string.format('%.0f',redis.call('INCR',KEYS[2])) "
    "local o=string.format('%.0f',redis.call('HINCRBY',KEYS[3],'off',1)) "
    "redis.call('SET',KEYS[6],ARGV[5]..' '..s..' '..o,'PX',3600000) "
    "redis.call('HSET',KEYS[3],'last',s) "
    "redis.call('XADD',KEYS[4],'MAXLEN','~',ARGV[2],s..'-0','o',o,'t',now,'v',ARGV[4]) "
    "redis.call('PEXPIRE',KEYS[3],ARGV[3]) redis.call('PEXPIRE',KEYS[4],ARGV[3]) "
    "redis.call('PUBLISH',KEYS[5],'E '..e..' '..s..' '..o..' '..now..' '..ARGV[4]) return {e,s,o}";

/* keys: epoch seq m h p px node-topic; args: epoch if there is none, events, "S <nonce> <length of
 * the channel> <channel>". The answer goes over the topic: it comes behind everything it contains,
 * and before everything later. Its fields: epoch seq off last ver records members, then for each
 * record seq off ms length bytes, for each member socket id length bytes; a blank behind each. */
static const char script_snapshot[] = EPOCH NOW
    "local m=redis.call('HMGET',KEYS[3],'off','last','ver') "
    "local out={ARGV[3],e,redis.call('GET',KEYS[2]) or '0',m[1] or '0',m[2] or '0',m[3] or '0'} "
    "local records=redis.call('XREVRANGE',KEYS[4],'+','-','COUNT',ARGV[2]) local members={} "
    "for _,id in ipairs(redis.call('ZRANGEBYSCORE',KEYS[6],now,'+inf')) do "
    "local v=redis.call('HGET',KEYS[5],id) if v then members[#members+1]={id,v} end end "
    "out[#out+1]=#records out[#out+1]=#members "
    "for i=#records,1,-1 do local id,f=records[i][1],{} "
    "for k=1,#records[i][2],2 do f[records[i][2][k]]=records[i][2][k+1] end "
    "out[#out+1]=string.match(id,'^%d+') out[#out+1]=f.o out[#out+1]=f.t "
    "out[#out+1]=#f.v out[#out+1]=f.v end "
    "for i=1,#members do out[#out+1]=members[i][1] out[#out+1]=#members[i][2] "
    "out[#out+1]=members[i][2] end out[#out+1]='' "
    "redis.call('PUBLISH',KEYS[7],table.concat(out,' ')) return #records";

/* keys: p px m topic; args: "join" "stay" or "leave", socket id, "<node> <data>", ttl ms. A member
 * that stays joins again when it was forgotten. */
static const char script_member[] = CHANGED NOW
    "local id,value=ARGV[2],ARGV[3] "
    "if ARGV[1]=='leave' then redis.call('ZREM',KEYS[2],id) "
    "if redis.call('HDEL',KEYS[1],id)==1 then changed('L',id,value) end return 0 end "
    "redis.call('ZADD',KEYS[2],now+ARGV[4],id) "
    "redis.call('PEXPIRE',KEYS[1],86400000) redis.call('PEXPIRE',KEYS[2],86400000) "
    "if redis.call('HSETNX',KEYS[1],id,value)==1 or ARGV[1]=='join' then changed('J',id,value) end "
    "redis.call('PEXPIRE',KEYS[1],86400000) return 1";

/* keys: p px m topic. Members whose node no longer says that they stay. */
static const char script_reap[] = CHANGED NOW
    "for _,id in ipairs(redis.call('ZRANGEBYSCORE',KEYS[2],'-inf',now,'LIMIT',0,100)) do "
    "local value=redis.call('HGET',KEYS[1],id) redis.call('ZREM',KEYS[2],id) "
    "if value then redis.call('HDEL',KEYS[1],id) changed('L',id,value) end end return 0";

#undef NOW
#undef EPOCH
#undef CHANGED

#endif
