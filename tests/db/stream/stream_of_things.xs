function "stream_of_things" {
  stack {
    db.query "thing" {
      return = {type: "stream"}
    } as $rows
  }
  response = $rows

  cache = {ttl: 60, input: true, auth: true, datasource: true, ip: false}
}
