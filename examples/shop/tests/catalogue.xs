workflow_test "the catalogue has pages" {
  stack {
    for (25) {
      each as $i {
        db.add "product" {
          data = {name: "Pen " ~ $i, price: 100 - $i, stock: 1, category_id: 2}
        }
      }
    }

    db.add "product" {
      data = {name: "Hammer", price: 2500, stock: 1, category_id: 1}
    } as $hammer

    api.call "products" verb=GET {
      api_group = "catalog"
      input = {page: 2, per_page: 10}
    } as $page

    expect.to_equal ($page.itemsTotal) {
      value = 26
    }

    expect.to_equal ($page.curPage) {
      value = 2
    }

    expect.to_equal ($page.items.0) {
      value = {
        id      : 15
        name    : "Pen 14"
        price   : 86
        stock   : 1
        category: "Paper"
      }
    }

    api.call "products" verb=GET {
      api_group = "catalog"
      input = {q: "ham"}
    } as $found

    expect.to_equal ($found.items|map:$$.id) {
      value = [$hammer.id]
    }

    api.call "products/{product_id}" verb=GET {
      api_group = "catalog"
      input = {product_id: $hammer.id}
    } as $one

    expect.to_equal ($one._category) {
      value = {name: "Tools"}
    }
  }
}
