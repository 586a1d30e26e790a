function "work" {
  input {
  }
  stack {
    db.add order {
      data = {total: 5, secret: "Hidden12"}
    } as $a
    db.edit order {
      field_name = "id"
      field_value = $a.id
      data = {state: "paid"}
    }
    db.patch order {
      field_name = "id"
      field_value = $a.id
      data = {}
    }
    db.bulk.patch order {
      where = $db.order.state == "paid"
      data = {total: 9}
    } as $n
    db.transaction {
      stack {
        db.add order {
          data = {total: 1}
        } as $b
        try_catch {
          try {
            db.transaction {
              stack {
                db.add order {
                  data = {total: 2}
                }
                throw {
                  name = "no"
                  value = "no"
                }
              }
            }
          }
          catch {
          }
        }
      }
    }
    try_catch {
      try {
        db.transaction {
          stack {
            db.del order {
              field_name = "id"
              field_value = $b.id
            }
            throw {
              name = "no"
              value = "no"
            }
          }
        }
      }
      catch {
      }
    }
    db.del order {
      field_name = "id"
      field_value = $b.id
    }
    db.truncate order
    db.set_datasource {
      value = "other"
    }
    db.add order {
      data = {total: 7}
    }
    db.add loop {
      data = {n: 1}
    }
  }
  response = $n
}
