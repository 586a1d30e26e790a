// What can be bought: by page, category and a part of the name, cheapest first.
query "products" verb=GET {
  api_group = "catalog"

  input {
    int? category_id?
    text? q? filters=trim
    int page?=1 filters=min:1
    int per_page?=20 filters=min:1|max:100
  }

  stack {
    db.query "product" {
      join = {
        category: {
          table: "category"
          where: $db.product.category_id == $db.category.id
        }
      }
      where = $db.product.active == true && $db.product.category_id ==? $input.category_id && $db.product.name includes? $input.q
      sort = {price: "asc", id: "asc"}
      eval = {category: $db.category.name}
      return = {
        type  : "list"
        paging: {page: $input.page, per_page: $input.per_page, totals: true}
      }
      output = [
        "itemsTotal"
        "curPage"
        "nextPage"
        "items.id"
        "items.name"
        "items.price"
        "items.stock"
        "items.category"
      ]
    } as $products
  }

  response = $products
}
