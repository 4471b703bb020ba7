package call

import "strings"

// words are easy to say and to hear; one byte chooses one, so two of them make 65,536 pairs.
var words = [256]string(strings.Fields(`
acid acorn actor agent alarm album amber anchor angel ankle apple apron arctic arrow atlas
autumn bacon badge bagel baker balcony ballet bamboo banana banjo barrel basket beach bishop
blanket blossom border bottle bracket branch breeze brick bridge broom bubble bucket buffalo
burger butter button cabin cactus camel camera canal candle canyon captain carbon cargo carpet
carrot castle cedar cello chapel cherry chess chimney cinema circus citrus clarinet clover
cobalt coconut comet compass copper coral corner cotton cousin cradle crater cricket crystal
curtain dagger dancer daisy desert diamond dinner doctor dolphin donkey dragon drawer eagle
easter echo eleven elbow emerald engine falcon famous farmer feather fiddle finger flamingo
forest fossil fountain freckle garden garlic gentle giant ginger giraffe glacier goblet golden
gorilla granite guitar hammer harbour harvest hazel helmet hermit hockey honey horizon hotel
hunter iceberg icon indigo insect island ivory jacket jaguar jasmine jelly jigsaw jungle kayak
kennel kettle kitchen kitten koala ladder lantern lemon leopard letter lily limestone lizard
lobster locket lunar magnet mango marble margin market meadow melon mercury meteor mirror
mitten monkey mosaic museum mustard napkin nephew nickel noodle nutmeg oasis ocean olive onion
opera orange orchard organ otter oxygen oyster paddle palace pancake panther paper parrot
pastry pearl pebble pelican pencil pepper phantom piano picnic pigeon pilot pirate planet plaza
pocket poet polar pony poppy potato prairie prince pumpkin puppet purple puzzle pyramid rabbit
radar raven ribbon river robin rocket saddle saffron sailor salmon sandal satin saturn scarlet
season shadow silver spider spiral squirrel summer sunset
tiger tulip turtle velvet violin
`))
